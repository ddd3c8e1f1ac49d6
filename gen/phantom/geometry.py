"""Cone-beam geometry: a point source, a patient and a flat detector.

Patient coordinates are millimetres: x to the patient's left, y to the back, z to the head. Images are hung as
radiologists do: the patient's left on the image's right, laterals with the back on the image's right.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

VIEW_ANGLES = {"PA": 0.0, "LATERAL": 90.0, "AP": 180.0, "AP SUPINE": 180.0}  # degrees
SOURCE_DISTANCES = {"PA": 1830.0, "LATERAL": 1830.0, "AP": 1300.0, "AP SUPINE": 1050.0}  # mm


@dataclass(frozen=True)
class Geometry:
    """A horizontal beam around the patient's long axis.

    angle: degrees, 0 PA, 90 left lateral, 180 AP; source, detector: mm from source to detector and from the aim to the
    detector; field: mm along a side of the square detector; size: pixels along it; aim: patient mm under the centre.
    """

    angle: float
    source: float
    detector: float
    field: float
    size: int
    aim: tuple[float, float, float] = (0.0, 0.0, 0.0)

    @property
    def pixel(self) -> float:
        """Side of a detector pixel, mm."""
        return self.field / self.size

    @property
    def sideways(self) -> bool:
        """Whether the view is nearer to a lateral than to a frontal one."""
        return abs(np.sin(np.deg2rad(self.angle))) > np.sqrt(0.5)

    @property
    def object_distance(self) -> float:
        """From the source to the aim, mm."""
        return self.source - self.detector

    @cached_property
    def axes(self) -> np.ndarray:
        """Unit vectors along the beam, a detector row and a detector column. Shapes: [3, 3]."""
        turn = np.deg2rad(self.angle)
        beam = np.array([np.sin(turn), -np.cos(turn), 0.0])
        across, deep = np.cos(turn), np.sin(turn)
        side = np.sign(across if abs(across) >= abs(deep) else deep)  # from the front, the viewer faces the patient
        return np.stack([beam, side * np.array([across, deep, 0.0]), np.array([0.0, 0.0, -1.0])])

    def magnification(self, points: np.ndarray) -> np.ndarray:
        """Detector mm per mm at points, source distance over depth. Shapes: [..., 3] -> [...]."""
        return self.source / (self.object_distance + (points - np.array(self.aim)) @ self.axes[0])

    def project(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Image rows and columns of points, pixel centres at whole numbers. Shapes: [..., 3] -> 2 x [...]."""
        _, across, down = self.axes
        offset = points - np.array(self.aim)
        scale = self.magnification(points) / self.pixel
        middle = (self.size - 1) / 2
        return offset @ down * scale + middle, offset @ across * scale + middle

    def directions(self, points: np.ndarray) -> np.ndarray:
        """Unit vectors from the source to points. Shapes: [..., 3] -> [..., 3]."""
        rays = points - (np.array(self.aim) - self.axes[0] * self.object_distance)
        return rays / np.linalg.norm(rays, axis=-1, keepdims=True)

    def obliquity(self) -> np.ndarray:
        """Path along each pixel's ray per mm of depth, 1 at the centre. Shapes: -> [size, size] float32."""
        position = self._positions()
        return np.sqrt(1 + (position[:, None] ** 2 + position[None] ** 2) / self.source**2).astype(np.float32)

    def slab(self, depth: float, stride: int = 1) -> Slab:
        """The plane of every n-th ray at a depth (mm behind the aim along the beam), to the last pixel or beyond."""
        beam, across, _ = self.axes
        shrink = (self.object_distance + depth) / self.source
        place = self._positions(stride) * shrink
        x = self.aim[0] + beam[0] * depth + across[0] * place
        y = self.aim[1] + beam[1] * depth + across[1] * place
        z = self.aim[2] - place
        return Slab(x.astype(np.float32)[None], y.astype(np.float32)[None], z.astype(np.float32)[:, None], depth)

    def slabs(self, front: float, back: float, step: float, stride: int = 1) -> Iterator[Slab]:
        """Planes from `front` to at least `back`, `step` mm apart."""
        return (self.slab(front + step * index, stride) for index in range(int(np.ceil((back - front) / step)) + 1))

    def at(self, size: int) -> Geometry:
        """The same field on another pixel grid."""
        return replace(self, size=size)

    def _positions(self, stride: int = 1) -> np.ndarray:
        return (np.arange(0, self.size - 1 + stride, stride) - (self.size - 1) / 2) * self.pixel


@dataclass(frozen=True)
class Slab:
    """Patient coordinates of a plane across the beam: x, y [1, W] and z [H, 1] broadcast to its pixels."""

    x: np.ndarray
    y: np.ndarray
    z: np.ndarray
    depth: float

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.z.shape[0], self.x.shape[1]

    def windows(self, centres: np.ndarray, reaches: np.ndarray) -> tuple[np.ndarray, ...]:
        """First and last row and column (the last excluded) within `reaches` mm of points on every axis, x, y and z.

        Shapes: centres [N, 3], reaches [N] or [N, 3] -> 4 x [N]; empty ranges where a point is too far.
        """
        reach = reaches if reaches.ndim > 1 else np.repeat(reaches[:, None], 3, 1)
        x, y, z = (
            np.abs(line - centres[:, axis, None]) <= reach[:, axis, None]
            for axis, line in enumerate((self.x[0], self.y[0], self.z[:, 0]))
        )
        return *_ends(z), *_ends(x & y)

    def cut(self, window: tuple[slice, slice]) -> Slab:
        """A part of the plane."""
        rows, columns = window
        return Slab(self.x[:, columns], self.y[:, columns], self.z[rows], self.depth)


def _ends(within: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """First and last (excluded) of the places that are true, 0 and 0 where none is. Shapes: [N, W] -> 2 x [N]."""
    return within.argmax(1), (within * np.arange(1, within.shape[1] + 1)).max(1)
