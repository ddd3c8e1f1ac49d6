"""Smooth fields are worked out on every n-th pixel and interpolated; organs stay sharp, cut from the result.

A border lies where a field changes its sign. Between points d apart a straight line misses a border that bends with the
radius R by at most d^2 / 8 R: 0.1 mm for 20 mm, the tightest of the organs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from gen.phantom.geometry import Geometry, Slab

FARTHEST = 4.0  # mm on the detector between points of a field
STRIDES = (8, 4, 2)


@dataclass(frozen=True)
class Raster:
    """Every n-th pixel of a rectangle of the image; rows, columns: first and last point, the last excluded."""

    geometry: Geometry
    stride: int
    rows: tuple[int, int]
    columns: tuple[int, int]

    @staticmethod
    def of(geometry: Geometry, corners: np.ndarray | None = None) -> Raster:
        """Of the whole image, or of the rectangle that points cast their shadows in. Shapes: corners [N, 3] mm."""
        stride = next((stride for stride in STRIDES if stride * geometry.pixel <= FARTHEST), 1)
        count = -(-(geometry.size - 1) // stride) + 1
        if corners is None:
            return Raster(geometry, stride, (0, count), (0, count))
        limits = [
            (max(int(line.min() / stride) - 1, 0), min(int(line.max() / stride) + 3, count))
            for line in geometry.project(corners)
        ]
        return Raster(geometry, stride, *((min(low, count - 2), max(high, 2)) for low, high in limits))

    def planes(self, front: float, back: float, step: float) -> Iterator[Slab]:
        """The points' planes from `front` to at least `back`, `step` mm apart."""
        window = slice(*self.rows), slice(*self.columns)
        return (slab.cut(window) for slab in self.geometry.slabs(front, back, step, self.stride))

    def within(self, outer: Raster) -> tuple[slice, slice]:
        """Rows and columns of its points among those of a rectangle about it."""
        return (
            slice(self.rows[0] - outer.rows[0], self.rows[1] - outer.rows[0]),
            slice(self.columns[0] - outer.columns[0], self.columns[1] - outer.columns[0]),
        )

    def sharpened(self, field: np.ndarray) -> np.ndarray:
        """A field at every pixel of the rectangle, straight between the points; float32."""
        left = self.stride
        while left > 1:
            field, left = _doubled(field), left // 2
        rows, columns = self.pixels
        return field[: rows.stop - rows.start, : columns.stop - columns.start]

    def placed(self, part: np.ndarray) -> np.ndarray:
        """The whole image, 0 outside of the rectangle. Shapes: -> [size, size] float32."""
        image = np.zeros((self.geometry.size, self.geometry.size), np.float32)
        image[self.pixels] = part
        return image

    @property
    def pixels(self) -> tuple[slice, slice]:
        """Rows and columns of the image."""
        ends = (self.rows, self.columns)
        return tuple(
            slice(low * self.stride, min((high - 1) * self.stride + 1, self.geometry.size)) for low, high in ends
        )


def _doubled(field: np.ndarray) -> np.ndarray:
    """With the points halfway between, rows and columns."""
    half = np.float32(0.5)
    full = np.empty((2 * field.shape[0] - 1, 2 * field.shape[1] - 1), np.float32)
    rows, between = full[::2], full[1::2]
    rows[:, ::2] = field
    np.add(field[:, :-1], field[:, 1:], out=rows[:, 1::2])
    rows[:, 1::2] *= half
    np.add(rows[:-1], rows[1:], out=between)
    between *= half
    return full
