"""The Frechet distance against closed forms, other libraries, and itself by another road."""

import numpy as np
import pytest
from scipy.linalg import sqrtm

from gen.judges.frechet import Moments, frechet_distance, frechet_of_moments


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


def test_moments_of_shards_are_those_of_the_whole():
    vectors = np.random.default_rng(4).normal(3, 2, size=(500, 7)).astype(np.float32)
    whole = Moments.of(vectors)
    merged = Moments.merged([Moments.of(part) for part in np.split(vectors, [10, 11, 300])])
    assert merged.count == 500
    assert merged.mean == pytest.approx(vectors.mean(0, dtype=np.float64), rel=1e-12)
    assert merged.covariance == pytest.approx(np.cov(vectors.astype(np.float64).T), rel=1e-10)
    assert merged.covariance == pytest.approx(whole.covariance, rel=1e-10)


def test_averaging_distances_of_shards_is_not_the_distance():
    # why shards are merged: ten averaged distances of a tenth are biased upwards
    rng = np.random.default_rng(5)
    a, b = rng.normal(size=(600, 20)), rng.normal(size=(600, 20))
    averaged = np.mean([frechet_distance(x, y) for x, y in zip(np.split(a, 10), np.split(b, 10), strict=True)])
    whole = frechet_distance(a, b)
    merged = frechet_of_moments(*(Moments.merged(map(Moments.of, np.split(v, 10))) for v in (a, b)))
    assert merged == pytest.approx(whole, rel=1e-9)
    assert averaged > 3 * whole


def test_both_roads_agree_where_vectors_are_fewer_than_dimensions():
    rng = np.random.default_rng(6)
    a, b = rng.normal(size=(30, 64)), rng.normal(0.2, 1.5, size=(40, 64))
    assert frechet_distance(a, b) == pytest.approx(frechet_of_moments(Moments.of(a), Moments.of(b)), rel=1e-6)


def test_agrees_with_torchmetrics_and_torch_fidelity_on_the_same_features():
    torch = pytest.importorskip("torch")
    from torchmetrics.image.fid import FrechetInceptionDistance

    rng = np.random.default_rng(7)
    mix = rng.normal(size=(48, 48))
    a = (rng.normal(size=(400, 48)) @ mix).astype(np.float32)
    b = (rng.normal(0.3, 1.2, size=(300, 48)) @ mix).astype(np.float32)
    metric = FrechetInceptionDistance(feature=identity(48), normalize=True)
    metric.update(torch.from_numpy(a), real=True)
    metric.update(torch.from_numpy(b), real=False)
    assert frechet_distance(a, b) == pytest.approx(float(metric.compute()), rel=1e-3)
    fidelity = pytest.importorskip("torch_fidelity.metric_fid")
    statistics = [{"mu": v.mean(0), "sigma": np.cov(v.T)} for v in (a.astype(np.float64), b.astype(np.float64))]
    theirs = fidelity.fid_statistics_to_metric(*statistics, verbose=False)["frechet_inception_distance"]
    assert frechet_distance(a, b) == pytest.approx(theirs, rel=1e-3)


def identity(width):
    torch = pytest.importorskip("torch")

    class Identity(torch.nn.Module):
        num_features = width

        def forward(self, x):
            return x

    return Identity()
