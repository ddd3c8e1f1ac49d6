"""The quick figures against closed forms."""

import numpy as np
import pandas as pd
import pytest
import torch

from gen.engine.figures import _by_source, principal_components, thumbnails


def test_components_keep_the_distance_of_low_rank_data():
    rng = np.random.default_rng(3)
    vectors = rng.normal(size=(50, 4)) @ rng.normal(size=(4, 100))
    project = principal_components(vectors)
    assert np.linalg.norm(project(vectors)) == pytest.approx(np.linalg.norm(vectors - vectors.mean(0)))


def test_thumbnails_are_block_means():
    image = torch.arange(64.0).repeat(64, 1)[None, None]
    assert thumbnails(image).reshape(32, 32)[0, :3].tolist() == [0.5, 2.5, 4.5]


def test_reconstructions_are_told_by_source_where_there_are_several():
    found = pd.DataFrame({"psnr": [30.0, 34.0, 38.0], "ssim": [0.8, 0.9, 1.0], "source": ["one", "one", "two"]})
    figures = _by_source(found)
    assert figures["psnr"] == pytest.approx(34) and figures["psnr one"] == pytest.approx(32)
    assert figures["ssim two"] == 1 and set(_by_source(found[:2])) == {"psnr", "ssim"}
