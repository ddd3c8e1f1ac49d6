"""The search against brute force; copies planted at a known rate."""

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist

from gen.errors import UserError
from gen.judges.neighbours import copy_threshold, nearest, pixel_details


def vectors(count, width=16, seed=0):
    return np.random.default_rng(seed).normal(size=(count, width)).astype(np.float32)


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
@pytest.mark.parametrize("block", [7, 4096])
def test_as_brute_force(metric, block):
    queries, references = vectors(40) + 3, vectors(90, seed=1) + 3
    distances, indices = nearest(queries, torch.from_numpy(references), k=5, block=block, metric=metric)
    all_distances = cdist(queries.astype(np.float64), references.astype(np.float64), metric)
    order = np.argsort(all_distances, axis=1)[:, :5]
    np.testing.assert_array_equal(indices, order)
    np.testing.assert_allclose(distances, np.take_along_axis(all_distances, order, 1), rtol=1e-4, atol=1e-6)


def test_tiny_distances_survive_large_offsets():
    references = vectors(50) + 100
    queries = references + 1e-3
    distances, indices = nearest(queries, references)
    np.testing.assert_array_equal(indices[:, 0], np.arange(50))
    np.testing.assert_allclose(distances[:, 0], 4e-3, rtol=0.05)


def test_own_identity_is_left_out():
    points = vectors(30)
    patients = [f"p{number // 3}" for number in range(30)]
    distances, indices = nearest(points, points, k=2, block=8, exclude=(patients, patients))
    assert all(patients[near] != patients[row] for row, found in enumerate(indices) for near in found)
    one = nearest(points[:2], points[:2], k=1, exclude=(["a", "a"], ["a", "a"]))
    assert np.isinf(one[0]).all() and (one[1] == -1).all()
    assert np.isfinite(distances).all()


def test_unequal_widths_and_too_few_references_are_refused():
    with pytest.raises(ValueError, match="references"):
        nearest(vectors(3), vectors(3, width=4))
    with pytest.raises(ValueError, match="references"):
        nearest(vectors(3), vectors(2), k=3)
    assert nearest(vectors(0), vectors(4), k=2)[0].shape == (0, 2)


def test_false_alarms_keep_their_rate():
    everything = vectors(6000, width=8, seed=4)
    train, held_out, fresh = everything[:2000], everything[2000:3000], everything[3000:]
    patients = np.arange(len(everything))
    found = copy_threshold(train, held_out, patients[:2000], patients[2000:3000], false_alarms=0.02)
    assert found.way == "quantile" and found.innocent.shape == (3000,)
    assert 0.01 < found.flags(nearest(fresh, train)[0][:, 0]).mean() < 0.035
    rare = copy_threshold(train, held_out, patients[:2000], patients[2000:3000], false_alarms=1e-4)
    assert rare.way == "extrapolated tail" and 0 < rare.threshold < found.threshold
    assert rare.flags(nearest(fresh, train)[0][:, 0]).mean() <= 1e-3


def test_too_few_real_images_are_refused():
    with pytest.raises(UserError, match="at least 20"):
        copy_threshold(vectors(5), vectors(5, seed=1), range(5), range(5, 10))


def test_details_ignore_grey_scale_and_size():
    images = torch.rand(4, 1, 128, 128, generator=torch.Generator().manual_seed(0))
    images = torch.nn.functional.avg_pool2d(images, 9, 1, 4) * 6 - 3
    changed = torch.nn.functional.interpolate(
        0.6 * images.clamp(-1, 1) + 0.2, (96, 96), mode="bilinear", antialias=True
    )
    distances, indices = nearest(pixel_details(changed), pixel_details(images.clamp(-1, 1)), metric="cosine")
    assert indices[:, 0].tolist() == [0, 1, 2, 3] and distances.max() < 0.1
