"""A square image seen through overlapping tiles of a network's size, whose results fade into one another."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

OVERLAP = 0.5  # of a tile's side


def tiled(layers: Callable[[Tensor], Tensor], pixels: Tensor, tile: int, overlap: float = OVERLAP) -> Tensor:
    """What `layers` finds in every tile, weighted by a window that falls to the tiles' edges; one tile at a time.

    Shapes: pixels [1, 1, S, S], layers [1, 1, T, T] -> [1, T, T]; -> [1, S, S].
    """
    side = pixels.shape[-1]
    places = starts(side, tile, overlap)
    total, weights = torch.zeros(side, side), torch.zeros(side, side)
    shape = window(tile)
    for top in places:
        for left in places:
            part = (slice(top, top + tile), slice(left, left + tile))
            total[part] += shape * layers(pixels[(..., *part)])[0]
            weights[part] += shape
    return (total / weights)[None]


def starts(side: int, tile: int, overlap: float = OVERLAP) -> list[int]:
    """Where tiles begin so that they cover a side evenly, each overlapping the next by at least this share."""
    if side <= tile:
        return [0]
    count = 1 + -(-(side - tile) // max(1, round(tile * (1 - overlap))))
    return [round(number * (side - tile) / (count - 1)) for number in range(count)]


def window(tile: int) -> Tensor:
    """A hill over a tile, positive everywhere. Shapes: -> [T, T]."""
    ramp = torch.sin(torch.pi * (torch.arange(tile) + 0.5) / tile).square() + 1e-3
    return ramp[:, None] * ramp
