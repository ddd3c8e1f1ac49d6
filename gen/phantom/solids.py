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


@dataclass(frozen=True)
class Cluster:
    """Ellipsoids whose union is one organ. Shapes: centres [N, 3], matrices [N, 3, 3], sizes, reaches [N]; mm."""

    centres: np.ndarray
    matrices: np.ndarray
    sizes: np.ndarray
    reaches: np.ndarray

    @staticmethod
    def of(parts: Sequence[Solid]) -> Cluster:
        """Of any number of parts."""
        centres = np.array([part.centre for part in parts]).reshape(-1, 3)
        matrices = np.array([part.matrix for part in parts], np.float32).reshape(-1, 3, 3)
        sizes = np.array([part.size for part in parts], np.float32)
        return Cluster(centres, matrices, sizes, np.array([part.reach for part in parts]))

    def box(self, margin: float) -> np.ndarray:
        """The lowest and highest x, y, z within `margin` of any part. Shapes: -> [2, 3], mm."""
        reach = self.reaches[:, None] + margin
        return np.stack([(self.centres - reach).min(0), (self.centres + reach).max(0)])

    def near(self, slab: Slab, margin: float) -> Iterator[tuple[np.ndarray, tuple[slice, slice]]]:
        """Fields of the parts that come within `margin` mm of a plane, each with its rows and columns there."""
        tops, bottoms, lefts, rights = slab.windows(self.centres, self.reaches + margin)
        chosen = np.flatnonzero((bottoms > tops) & (rights > lefts))
        if not len(chosen):
            return
        flat, mixed, upright, height = self._squares(slab, chosen)
        for k, index in enumerate(chosen):
            rows, columns = slice(tops[index], bottoms[index]), slice(lefts[index], rights[index])
            field = height[k, rows, None] * mixed[k, columns]
            field += flat[k, columns]
            field += upright[k, rows, None]
            np.sqrt(np.maximum(field, 0, out=field), out=field)
            field -= 1
            field *= self.sizes[index]
            yield field, (rows, columns)

    def _squares(self, slab: Slab, chosen: np.ndarray) -> tuple[np.ndarray, ...]:
        """|M (p - c)|^2 = flat(x, y) + z' mixed(x, y) + upright(z'), z' the height above c.

        Shapes: flat, mixed [n, W], upright, z' [n, H].
        """
        matrix, centre = self.matrices[chosen], self.centres[chosen].astype(np.float32)
        x, y = slab.x - centre[:, :1], slab.y - centre[:, 1:2]
        across = matrix[:, :, :1] * x[:, None] + matrix[:, :, 1:2] * y[:, None]
        height = slab.z[:, 0] - centre[:, 2:]
        down = matrix[:, :, 2]
        mixed = 2 * (down[:, :, None] * across).sum(1)
        return (across * across).sum(1), mixed, (down * down).sum(1)[:, None] * height * height, height


def nearest(slab: Slab, cluster: Cluster, outside: float = FAR) -> np.ndarray:
    """Field of a union; `outside` further than some mm from every part. Shapes: -> [H, W]."""
    field = np.full(slab.shape, outside, dtype=np.float32)
    for part, window in cluster.near(slab, 8.0):
        np.minimum(field[window], part, out=field[window])
    return field


def blended(slab: Slab, cluster: Cluster, blend: float) -> np.ndarray:
    """Field of a union with its creases filled over `blend` mm (polynomial smooth minimum). Shapes: -> [H, W]."""
    field = np.full(slab.shape, FAR, dtype=np.float32)
    for part, window in cluster.near(slab, 1.5 * blend):
        field[window] = _blended(field[window], part, np.float32(blend))
    return field


def _blended(a: np.ndarray, b: np.ndarray, blend: np.float32) -> np.ndarray:
    overlap = np.maximum(blend - np.abs(a - b), 0) / blend
    return np.minimum(a, b) - overlap * overlap * (blend / 4)


def chords(geometry: Geometry, parts: Sequence[Solid]) -> np.ndarray:
    """Path length through a cluster of overlapping ellipsoids: from the first entry to the last exit.

    Shapes: -> [size, size] float32, mm.
    """
    window = _shadow(geometry, parts)
    plane, beam = geometry.slab(0.0).cut(window), geometry.axes[0]
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
    closest = centres - geometry.axes[0] * reaches[:, None]
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
