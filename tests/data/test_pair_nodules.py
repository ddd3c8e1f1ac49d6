"""Nodules in training pairs: bright, within the frame, of the stated size, the same for the same seed."""

import numpy as np

from gen.data.pair_nodules import CONTRAST, ELONGATION, MARGIN, MOST, NONE, RADIUS, nodule, with_nodules

SIDE = 128


def test_a_nodule_is_one_round_spot():
    for seed in range(20):
        spot = nodule(SIDE, np.random.default_rng(seed))
        assert 0 <= spot.min() and 0.8 < spot.max() <= 1
        inside = spot > 0.5
        rows, columns = np.nonzero(inside)
        smallest, largest = np.pi * (np.array(RADIUS) * SIDE) ** 2
        assert 0.7 * smallest < inside.sum() < 1.2 * largest
        assert np.ptp(rows) + 1 <= 2 * RADIUS[1] * SIDE * ELONGATION + 2
        assert min(rows.mean(), columns.mean()) > (MARGIN - 0.05) * SIDE


def test_half_of_the_images_get_some():
    even = np.zeros((SIDE, SIDE))
    changed = [with_nodules(even, np.random.default_rng(seed)) for seed in range(200)]
    some = [image for image in changed if image.any()]
    assert abs(len(some) / 200 - (1 - NONE)) < 0.12
    assert all(image.min() >= 0 and CONTRAST[0] * 0.8 < image.max() <= MOST * CONTRAST[1] for image in some)
    again = with_nodules(even, np.random.default_rng(3))
    assert np.array_equal(again, changed[3])
