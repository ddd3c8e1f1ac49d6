"""The quick figures against closed forms."""

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm

from gen.engine.figures import frechet_distance, principal_components, thumbnails


def test_distance_of_shifted_samples_is_the_squared_shift():
    sample = np.random.default_rng(0).normal(size=(200, 5))
    assert frechet_distance(sample, sample + 2.0) == pytest.approx(5 * 4.0)


def test_distance_agrees_with_the_matrix_square_root():
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(300, 6)) @ rng.normal(size=(6, 6)), rng.normal(size=(200, 6)) + 0.3
    covariance_a, covariance_b = np.cov(a.T), np.cov(b.T)
    cross = np.trace(np.real(sqrtm(covariance_a @ covariance_b)))
    expected = np.square(a.mean(0) - b.mean(0)).sum() + np.trace(covariance_a) + np.trace(covariance_b) - 2 * cross
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-6)


def test_distance_is_finite_with_fewer_samples_than_dimensions():
    rng = np.random.default_rng(2)
    sample = rng.normal(size=(3, 10))
    assert frechet_distance(sample, sample) == pytest.approx(0.0, abs=1e-6)
    assert frechet_distance(sample, rng.normal(size=(3, 10))) > 0.1


def test_components_keep_the_distance_of_low_rank_data():
    rng = np.random.default_rng(3)
    vectors = rng.normal(size=(50, 4)) @ rng.normal(size=(4, 100))
    project = principal_components(vectors)
    assert np.linalg.norm(project(vectors)) == pytest.approx(np.linalg.norm(vectors - vectors.mean(0)))


def test_thumbnails_are_block_means():
    image = torch.arange(64.0).repeat(64, 1)[None, None]
    assert thumbnails(image).reshape(32, 32)[0, :3].tolist() == [0.5, 2.5, 4.5]
