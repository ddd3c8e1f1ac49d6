"""Ellipsoids in any pose: the bricks of heart, vessels and masses."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from gen.phantom.geometry import Geometry, Slab

FAR = 60.0  # mm


@dataclass(frozen=True)
class Solid:
    """An ellipsoid |M (p - centre)| < 1. Shapes: centre [3] mm, matrix [3, 3] per mm."""

    centre: np.ndarray
    matrix: np.ndarray
    size: float
    reach: float

    @staticmethod
    def along_axes(centre: Sequence[float], radii: Sequence[float]) -> Solid:
        """With its axes along x, y, z. Units: mm."""
        matrix = np.diag(1 / np.asarray(radii, dtype=float))
        return Solid(np.asarray(centre, dtype=float), matrix, float(min(radii)), float(max(radii)))

    @staticmethod
    def pointing(centre: Sequence[float], axis: Sequence[float], long: float, wide: float) -> Solid:
        """Round, with its long axis along a direction. Units: mm."""
        unit = np.asarray(axis, dtype=float) / np.linalg.norm(axis)
        matrix = np.eye(3) / wide + np.outer(unit, unit) * (1 / long - 1 / wide)
        return Solid(np.asarray(centre, dtype=float), matrix, min(long, wide), max(long, wide))


def solid(slab: Slab, part: Solid) -> np.ndarray:
    """Field of one ellipsoid on a plane, negative inside. Shapes: -> [H, W]."""
    matrix = part.matrix.astype(np.float32)
    ground = np.concatenate([slab.x - np.float32(part.centre[0]), slab.y - np.float32(part.centre[1])])
    across = matrix[:, :2] @ ground
    down = matrix[:, 2:] @ (slab.z - np.float32(part.centre[2])).T
    square = (2 * down.T) @ across
    square += (across * across).sum(0)
    square += (down * down).sum(0)[:, None]
    return (np.sqrt(np.maximum(square, 0)) - 1) * np.float32(part.size)


@dataclass(frozen=True)
class Cluster:
    """Ellipsoids whose union is one organ. Shapes: centres [N, 3], reaches [N], mm."""

    parts: tuple[Solid, ...]
    centres: np.ndarray
    reaches: np.ndarray

    @staticmethod
    def of(parts: Sequence[Solid]) -> Cluster:
        """Of any number of parts."""
        centres = np.array([part.centre for part in parts]).reshape(-1, 3)
        return Cluster(tuple(parts), centres, np.array([part.reach for part in parts]))

    def near(self, slab: Slab, margin: float) -> Iterator[tuple[Solid, tuple[slice, slice]]]:
        """Parts that come within `margin` mm of a plane, with their rows and columns there."""
        tops, bottoms, lefts, rights = slab.windows(self.centres, self.reaches + margin)
        for index in np.flatnonzero((bottoms > tops) & (rights > lefts)):
            yield self.parts[index], (slice(tops[index], bottoms[index]), slice(lefts[index], rights[index]))


def nearest(slab: Slab, cluster: Cluster, outside: float = FAR) -> np.ndarray:
    """Field of a union; `outside` further than some mm from every part. Shapes: -> [H, W]."""
    field = np.full(slab.shape, outside, dtype=np.float32)
    for part, window in cluster.near(slab, 8.0):
        near = field[window]
        np.minimum(near, solid(slab.cut(window), part), out=near)
    return field


def blended(slab: Slab, cluster: Cluster, blend: float) -> np.ndarray:
    """Field of a union with its creases filled over `blend` mm (polynomial smooth minimum). Shapes: -> [H, W]."""
    field = np.full(slab.shape, FAR, dtype=np.float32)
    for part, window in cluster.near(slab, 1.5 * blend):
        field[window] = _blended(field[window], solid(slab.cut(window), part), np.float32(blend))
    return field


def _blended(a: np.ndarray, b: np.ndarray, blend: np.float32) -> np.ndarray:
    overlap = np.maximum(blend - np.abs(a - b), 0) / blend
    return np.minimum(a, b) - overlap * overlap * (blend / 4)


def chords(geometry: Geometry, parts: Sequence[Solid]) -> np.ndarray:
    """Path length through a cluster of overlapping ellipsoids: from the first entry to the last exit.

    Shapes: -> [size, size] float32, mm.
    """
    window = _shadow(geometry, parts)
    plane, beam = geometry.slab(0.0).cut(window), geometry.axes()[0]
    near = np.full(plane.shape, np.inf, dtype=np.float32)
    far = -near
    ground = np.concatenate([plane.x, plane.y]) - np.array(geometry.aim, np.float32)[:2, None]
    height = plane.z - np.float32(geometry.aim[2])
    for part in parts:
        enter, leave = _crossing(geometry, part, ground, height, beam)
        np.minimum(near, enter, out=near)
        np.maximum(far, leave, out=far)
    path = np.zeros((geometry.size, geometry.size), dtype=np.float32)
    np.maximum(far - near, 0, out=path[window], where=far > near)
    path[window] *= geometry.obliquity()[window]
    return path


def _shadow(geometry: Geometry, parts: Sequence[Solid]) -> tuple[slice, slice]:
    """Rows and columns that hold the shadows of all parts."""
    centres, reaches = np.array([part.centre for part in parts]), np.array([part.reach for part in parts])
    closest = centres - geometry.axes()[0] * reaches[:, None]
    spread = reaches * geometry.magnification(closest) / geometry.pixel * 1.1 + 2  # of an oblique ray too
    edges = []
    for ends in zip(geometry.project(centres), geometry.project(closest), strict=True):
        low, high = np.min(ends, axis=0) - spread, np.max(ends, axis=0) + spread
        edges.append(slice(*(int(v) for v in np.clip([low.min(), high.max() + 1], 0, geometry.size))))
    return edges[0], edges[1]


def _crossing(
    geometry: Geometry, part: Solid, ground: np.ndarray, height: np.ndarray, beam: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Depths (mm) where each ray enters and leaves an ellipsoid; inf and -inf where it misses."""
    offset = part.matrix @ (np.array(geometry.aim) - part.centre)
    spread = 1 / geometry.object_distance
    slope = part.matrix @ beam
    at = [part.matrix[k, :2] @ ground + part.matrix[k, 2] * height for k in range(3)]
    base = [at[k] + offset[k] for k in range(3)]
    rate = [at[k] * spread + slope[k] for k in range(3)]
    a = sum(value * value for value in rate)
    b = sum(value * other for value, other in zip(rate, base, strict=True))
    c = sum(value * value for value in base) - 1
    root = np.sqrt(np.maximum(b * b - a * c, 0))
    hit = b * b > a * c
    return np.where(hit, (-b - root) / a, np.inf), np.where(hit, (-b + root) / a, -np.inf)
