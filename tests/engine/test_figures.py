"""The quick figures against closed forms."""

import numpy as np
import pytest
import torch

from gen.engine.figures import principal_components, thumbnails


def test_components_keep_the_distance_of_low_rank_data():
    rng = np.random.default_rng(3)
    vectors = rng.normal(size=(50, 4)) @ rng.normal(size=(4, 100))
    project = principal_components(vectors)
    assert np.linalg.norm(project(vectors)) == pytest.approx(np.linalg.norm(vectors - vectors.mean(0)))


def test_thumbnails_are_block_means():
    image = torch.arange(64.0).repeat(64, 1)[None, None]
    assert thumbnails(image).reshape(32, 32)[0, :3].tolist() == [0.5, 2.5, 4.5]
