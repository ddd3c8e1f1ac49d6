"""Tiles cover, overlap and leave no seams."""

from itertools import pairwise

import pytest
import torch

from gen.calls.tiles import starts, tiled, window


@pytest.mark.parametrize("side", [32, 48, 65, 128])
def test_what_looks_at_each_pixel_alone_sees_no_tiles(side):
    pixels = torch.rand(1, 1, side, side)
    found = tiled(lambda part: part[:, 0] * 0.3, pixels, 32)
    torch.testing.assert_close(found, pixels[:, 0] * 0.3)


def test_tiles_cover_and_overlap():
    places = starts(100, 32)
    assert places[0] == 0 and places[-1] == 68
    assert all(second - first <= 16 for first, second in pairwise(places))


def test_levels_that_differ_from_tile_to_tile_fade():
    count = iter(range(100))
    found = tiled(lambda part: torch.full((1, 32, 32), float(next(count) % 2)), torch.zeros(1, 1, 96, 96), 32)[0]
    assert (found.diff(dim=0).abs() < 0.12).all() and found.std() > 0.1


def test_the_window_is_positive_and_even():
    assert window(8).min() > 0 and torch.allclose(window(8), window(8).flip(0))
