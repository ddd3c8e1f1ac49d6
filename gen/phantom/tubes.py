"""Swept tubes with elliptic cross-sections, projected as exact path lengths at the image's own resolution."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from gen.phantom.geometry import Geometry

LONGEST = 12.0  # pixels; longer segments are cut so that their patches stay small
PATCHES = (6, 8, 10, 12, 14, 16, 20, 24, 32, 48, 64, 128, 256, 512)
ANYWHERE = (0.36, 0.48, 0.80)  # round tubes may take any direction but their own as their first axis
PARALLEL = 0.02  # sine below which an axis counts as this far off the ray


@dataclass(frozen=True)
class Tubes:
    """Straight segments. Shapes: start, end, across [N, 3]; radii [N, 2], along `across` and normal to it; mm."""

    start: np.ndarray
    end: np.ndarray
    radii: np.ndarray
    across: np.ndarray

    def thinner(self, wall: float | np.ndarray) -> Tubes:
        """The hollow inside of a wall of that thickness, mm."""
        return replace(self, radii=np.maximum(self.radii - np.reshape(wall, (-1, 1)), 0.05))

    def wider(self, factor: float | np.ndarray) -> Tubes:
        """The same course with other radii."""
        return replace(self, radii=self.radii * np.reshape(factor, (-1, 1)))


def chain(points: np.ndarray, radii: np.ndarray | float, across: np.ndarray | None = None) -> Tubes:
    """Segments between successive points. Shapes: points [M, 3], radii scalar, [M] or [M, 2], across [M, 3]."""
    points = np.asarray(points, dtype=float)
    radii = np.asarray(radii, dtype=float)
    radii = np.broadcast_to(radii[..., None] if radii.ndim < 2 else radii, (len(points), 2))
    if across is None:
        across = np.broadcast_to(ANYWHERE, points.shape)
    middle = (across[:-1] + across[1:]) / 2
    return Tubes(points[:-1], points[1:], (radii[:-1] + radii[1:]) / 2, middle)


def joined(parts: Sequence[Tubes]) -> Tubes:
    """All segments of several sets."""
    return Tubes(*(np.concatenate([getattr(part, name) for part in parts]) for name in Tubes.__dataclass_fields__))


def smooth(points: Sequence[Sequence[float]], count: int) -> np.ndarray:
    """A Catmull-Rom curve through points, evenly in the parameter. Shapes: [M, 3] -> [count, 3]."""
    knots = np.asarray(points, dtype=float)
    ends = np.concatenate([[2 * knots[0] - knots[1]], knots, [2 * knots[-1] - knots[-2]]])
    place = np.linspace(0, len(knots) - 1, count)
    index = np.minimum(place.astype(int), len(knots) - 2)
    t = (place - index)[:, None]
    a, b, c, d = (ends[index + offset] for offset in range(4))
    return 0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3)


def paths(geometry: Geometry, tubes: Tubes) -> np.ndarray:
    """Path length through tubes along each ray; overlaps count twice. Shapes: -> [size, size] float32, mm.

    The chord of an elliptic cylinder at the distance s from its axis is c sqrt(1 - s^2 / h^2) with its longest chord c
    and the half-width h of its shadow; here averaged over the pixel, so that a wire keeps its mass.
    """
    return nested_paths(geometry, [tubes])[0]


def nested_paths(geometry: Geometry, nested: Sequence[Tubes]) -> np.ndarray:
    """The same of tubes along one course, one within the other, the widest first. Shapes: -> [N, size, size]."""
    totals = np.zeros((len(nested), geometry.size**2))
    if len(nested[0].start):
        cuts = _cuts(geometry, nested[0])
        shadows = [_shadows(geometry, _short(tubes, *cuts)) for tubes in nested]
        widest, smallest = shadows[0], 0
        needed = np.ceil(np.hypot(widest["length"] + widest["ends"], 2 * widest["half"] + 1) + 2)
        for patch in PATCHES:
            chosen = (needed > smallest) & ((needed <= patch) | (patch == PATCHES[-1]))
            smallest = patch
            if chosen.any():
                parts = [{name: value[chosen] for name, value in shadow.items()} for shadow in shadows]
                _splat(totals, geometry.size, parts, patch)
    return totals.reshape(-1, geometry.size, geometry.size).astype(np.float32)


def _cuts(geometry: Geometry, tubes: Tubes) -> tuple[np.ndarray, np.ndarray]:
    """How many pieces long segments are cut into (none beside the image), and the segment of each. Shapes: [N], [M]."""
    (row0, column0), (row1, column1) = geometry.project(tubes.start), geometry.project(tubes.end)
    margin = tubes.radii.max(1) * 2 / geometry.pixel + 2
    inside = np.ones(len(row0), bool)
    for a, b in ((row0, row1), (column0, column1)):
        inside &= (np.maximum(a, b) > -margin) & (np.minimum(a, b) < geometry.size + margin)
    pieces = np.ceil(np.hypot(row1 - row0, column1 - column0) / LONGEST).astype(int).clip(1) * inside
    return pieces, np.repeat(np.arange(len(pieces)), pieces)


def _short(tubes: Tubes, pieces: np.ndarray, index: np.ndarray) -> Tubes:
    """Segments cut into their pieces."""
    order = np.arange(len(index)) - np.repeat(np.cumsum(pieces) - pieces, pieces)
    step = (tubes.end - tubes.start)[index] / pieces[index, None]
    start = tubes.start[index] + step * order[:, None]
    return Tubes(start, start + step, tubes.radii[index], tubes.across[index])


def _shadows(geometry: Geometry, tubes: Tubes) -> dict[str, np.ndarray]:
    """Where each segment falls on the image, in pixels, and its longest chord in mm."""
    middle = (tubes.start + tubes.end) / 2
    ray = geometry.directions(middle)
    axis = _unit(tubes.end - tubes.start)
    first = _unit(tubes.across - (tubes.across * axis).sum(1, keepdims=True) * axis)
    second = np.cross(axis, first)
    normal = np.cross(axis, ray)
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), PARALLEL)
    a, b = tubes.radii.T
    half = np.hypot(a * (first * normal).sum(1), b * (second * normal).sum(1))
    chord = 2 / np.maximum(np.hypot((first * ray).sum(1) / a, (second * ray).sum(1) / b), PARALLEL / np.maximum(a, b))
    (row0, column0), (row1, column1) = geometry.project(tubes.start), geometry.project(tubes.end)
    length = np.hypot(row1 - row0, column1 - column0)
    safe = np.maximum(length, 1e-6)
    half = np.maximum(half * geometry.magnification(middle) / geometry.pixel, 1e-3)
    along = {"down": (row1 - row0) / safe, "across": (column1 - column0) / safe}
    # a tube seen end-on casts its whole cross-section: its ends reach as far as its tilt shows of it
    tilt = np.abs((axis * ray).sum(1)) * np.sqrt(a * b) * geometry.magnification(middle) / geometry.pixel
    along["ends"] = 1 + 1.7 * tilt
    return {"row": row0, "column": column0, "length": length, "half": half, "chord": chord, **along}


def _splat(totals: np.ndarray, size: int, shadows: list[dict[str, np.ndarray]], patch: int) -> None:
    """Add every segment's path lengths within a square patch about its middle, of each nested tube to its total."""
    widest = shadows[0]
    top, left = (
        np.floor(widest[start] + widest[way] * widest["length"] / 2 - patch / 2 + 1).astype(int)
        for start, way in (("row", "down"), ("column", "across"))
    )
    rows, columns = top[:, None] + np.arange(patch), left[:, None] + np.arange(patch)
    down = (rows - widest["row"][:, None]).astype(np.float32)[:, :, None]
    across = (columns - widest["column"][:, None]).astype(np.float32)[:, None]
    part = {name: value.astype(np.float32)[:, None, None] for name, value in widest.items()}
    along = down * part["down"] + across * part["across"]
    aside = across * part["down"] - down * part["across"]
    keep = np.abs(along - part["length"] / 2) < (part["length"] + part["ends"]) / 2
    keep &= np.abs(aside) < part["half"] + np.float32(0.5)
    keep &= ((rows >= 0) & (rows < size))[:, :, None] & ((columns >= 0) & (columns < size))[:, None]
    segment, row, column = np.nonzero(keep)
    place, along, aside = rows[segment, row] * size + columns[segment, column], along[keep], aside[keep]
    for total, shadow in zip(totals, shadows, strict=True):
        values = {name: shadow[name].astype(np.float32)[segment] for name in ("length", "ends", "half", "chord")}
        total += np.bincount(place, _path(along, aside, **values), minlength=size * size)


def _path(
    along: np.ndarray, aside: np.ndarray, length: np.ndarray, ends: np.ndarray, half: np.ndarray, chord: np.ndarray
) -> np.ndarray:
    """Path length at pixels along and aside of a segment's start, averaged over each. Shapes: [P]; pixels -> mm."""
    reach, rim, aside = ends / 2, 0.5 / half, aside / half
    cover = np.maximum(np.minimum(along + reach, length) - np.maximum(along - reach, 0), 0) / ends
    return cover * chord * half * (_half_disc(aside + rim) - _half_disc(aside - rim))


def _half_disc(x: np.ndarray) -> np.ndarray:
    """The area under sqrt(1 - x^2) from 0 to x."""
    x = np.clip(x, -1, 1)
    return (x * np.sqrt(1 - x * x) + np.arcsin(x)) / 2


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
