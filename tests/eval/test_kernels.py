"""Kernel distances against torchmetrics and torch-fidelity, without bias, the same in blocks and at once."""

import numpy as np
import pytest
import torch

from gen.eval import kernels
from gen.eval.stats import resample_weights

RNG = np.random.default_rng


def two_sets(seed=0, n=220, m=180, width=40, shift=0.25):
    rng = RNG(seed)
    mix = rng.normal(size=(width, width)) / np.sqrt(width)
    return (rng.normal(size=(n, width)) @ mix).astype(np.float32), (rng.normal(shift, 1.1, (m, width)) @ mix).astype(
        np.float32
    )


def test_kid_is_that_of_torchmetrics_on_the_same_features():
    from torchmetrics.image.kid import poly_mmd

    x, y = two_sets(m=220)
    expected = float(poly_mmd(torch.from_numpy(x).double(), torch.from_numpy(y).double()))
    assert kernels.discrepancies(x, y)["KID"].value == pytest.approx(expected, rel=1e-3)


def test_kid_is_that_of_torch_fidelity_on_the_same_features():
    fidelity = pytest.importorskip("torch_fidelity.metric_kid")
    x, y = two_sets(m=220)
    theirs = fidelity.kid_features_to_metric(
        torch.from_numpy(x), torch.from_numpy(y), kid_subsets=1, kid_subset_size=220, verbose=False
    )
    assert kernels.discrepancies(x, y)["KID"].value == pytest.approx(theirs["kernel_inception_distance_mean"], rel=1e-3)


def test_cmmd_is_its_definition():
    x, y = two_sets()
    unit = lambda v: v / np.linalg.norm(v, axis=1, keepdims=True)  # noqa: E731
    kernel = lambda a, b: 1000 * np.exp(-np.square(a[:, None] - b[None]).sum(-1) / 200)  # noqa: E731
    a, b = unit(x.astype(np.float64)), unit(y.astype(np.float64))
    off = lambda k: (k.sum() - np.trace(k)) / (len(k) * (len(k) - 1))  # noqa: E731
    expected = off(kernel(a, a)) + off(kernel(b, b)) - 2 * kernel(a, b).mean()
    assert kernels.discrepancies(x, y)["CMMD"].value == pytest.approx(expected, rel=1e-6)


def test_no_bias_at_small_numbers():
    # equal distributions: the mean over many small samples is 0, where a Frechet distance is far above it
    values = []
    for seed in range(60):
        x, y = RNG(seed).normal(size=(2, 12, 20)).astype(np.float32)
        values.append(kernels.discrepancies(x, y, kernels={"KID": kernels.cubic})["KID"].value)
    assert abs(np.mean(values)) < 3 * np.std(values) / np.sqrt(60)


def test_blocks_and_single_precision_change_nothing(monkeypatch):
    x, y = two_sets(n=300, m=250, width=64)
    whole = kernels.discrepancies(x, y)
    monkeypatch.setattr(kernels, "BLOCK", 37)
    monkeypatch.setattr(kernels, "DOUBLE_UP_TO", 0)
    parts = kernels.discrepancies(x, y)
    for name in ("KID", "CMMD"):
        assert parts[name].value == pytest.approx(whole[name].value, rel=1e-4)


def test_interval_holds_the_truth_and_the_value():
    x, y = two_sets(shift=0.4)
    weights = tuple(resample_weights(np.arange(len(part)), 200, RNG(1)) for part in (x, y))
    found = kernels.discrepancies(x, y, weights)["KID"]
    large = kernels.discrepancies(*two_sets(seed=0, n=2000, m=2000, shift=0.4))["KID"].value
    assert found.low < found.value < found.high
    assert found.low < large < found.high


def test_a_resampled_image_does_not_meet_itself():
    # with all weight on two images the kernel of an image with itself would dominate
    x = torch.from_numpy(RNG(0).normal(size=(6, 8)))
    weights = torch.zeros(6, 1, dtype=torch.float64)
    weights[[0, 1]] = 3
    found = kernels._within(x, weights, {"KID": kernels.cubic}, {"KID": 0.0})["KID"]
    assert float(found[0]) == pytest.approx((float(x[0] @ x[1]) / 8 + 1) ** 3)


def test_interval_surrounds_the_value_where_images_come_in_pairs():
    x, y = two_sets(n=60, m=60, shift=0.05)
    x = np.repeat(x[:30], 2, axis=0) + RNG(1).normal(0, 0.01, (60, 40)).astype(np.float32)
    weights = tuple(resample_weights(np.arange(60) // 2, 200, RNG(2)) for _ in range(2))
    for found in kernels.discrepancies(x, y, weights).values():
        assert found.low < found.value < found.high


def test_subsets_spread_around_the_whole():
    x, y = two_sets(n=400, m=400)
    found = kernels.over_subsets(x, y, RNG(0))
    assert found.low < found.value < found.high
    assert found.low < kernels.discrepancies(x, y)["KID"].value < found.high
