"""Precision, recall, density and coverage against all distances at once, and on sets whose answer is known."""

import numpy as np
import pytest

from gen.eval import manifold

RNG = np.random.default_rng


def naive(real, made, k):
    """The four figures from full distance matrices, in double precision, by scikit-learn."""
    pairwise = pytest.importorskip("sklearn.metrics").pairwise_distances
    within = lambda v: np.sort(pairwise(v), axis=1)[:, k]  # noqa: E731 - column 0 is the vector itself
    across = pairwise(real, made)
    real_radii, made_radii = within(real), within(made)
    return {
        "precision": (across < real_radii[:, None]).any(0).mean(),
        "recall": (across < made_radii[None]).any(1).mean(),
        "density": (across < real_radii[:, None]).sum(0).mean() / k,
        "coverage": (across.min(1) < real_radii).mean(),
    }


@pytest.mark.parametrize("block", [17, 1024])
def test_agrees_with_all_distances_at_once(block, monkeypatch):
    monkeypatch.setattr(manifold, "BLOCK", block)
    rng = RNG(0)
    real, made = rng.normal(size=(150, 16)), rng.normal(0.4, 0.8, size=(120, 16))
    found = manifold.manifold_coverage(real, made)
    for name, expected in naive(real, made, 5).items():
        assert getattr(found, name).mean() == pytest.approx(expected, abs=1e-6), name


def test_small_distances_far_from_the_origin_survive_single_precision():
    rng = RNG(1)
    real, made = 500 + rng.normal(size=(100, 8)), 500 + rng.normal(size=(100, 8))
    found = manifold.manifold_coverage(real, made)
    for name, expected in naive(real, made, 5).items():
        assert getattr(found, name).mean() == pytest.approx(expected, abs=1e-6), name


def test_a_dropped_mode_costs_recall_and_not_precision():
    rng = RNG(2)
    real = np.concatenate([rng.normal(0, 1, (200, 8)), rng.normal(20, 1, (200, 8))])
    found = manifold.manifold_coverage(real, rng.normal(0, 1, (400, 8)))
    assert found.precision.mean() > 0.9
    assert found.recall.mean() < 0.55
    assert found.coverage[200:].mean() == 0


def test_images_from_nowhere_cost_precision_and_not_recall():
    rng = RNG(3)
    made = np.concatenate([rng.normal(0, 1, (200, 8)), rng.normal(20, 1, (200, 8))])
    found = manifold.manifold_coverage(rng.normal(0, 1, (400, 8)), made)
    assert found.precision.mean() < 0.55
    assert found.recall.mean() > 0.9


def test_equal_sets_cover_each_other():
    vectors = RNG(4).normal(size=(60, 5))
    found = manifold.manifold_coverage(vectors, vectors)
    assert found.precision.all() and found.recall.all() and found.coverage.all()
