"""Sums over the planes of a patient: each region's share of every gap between two of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from gen.phantom.body import Body, cloud
from gen.phantom.coarse import Raster
from gen.phantom.geometry import Geometry, Slab
from gen.phantom.lobes import LOBES, SIDES, lung_of

STEP = 8.0  # mm between the planes that are sampled; borders between them are found by interpolation
CHEST = 112.0  # reference mm before and behind the aim that hold all of the lungs


@dataclass(frozen=True)
class Fill:
    """Part of a lung or lobe with another density: `region` gives its field on a plane, negative inside; g/cm3.

    shell: only its surface, mm to both sides.
    """

    name: str
    place: str
    region: Callable[[Slab], np.ndarray]
    density: float
    shell: float | None = None

    def field(self, inner: np.ndarray) -> np.ndarray:
        """What is inside, or its surface alone, `shell` mm to both sides."""
        return inner if self.shell is None else np.abs(inner) - np.float32(self.shell)

    def holds(self, body: Body, points: np.ndarray) -> np.ndarray:
        """Whether points of the chest lie inside. Shapes: [N, 3] -> [N] bool."""
        place = cloud(points)
        inside = self.field(self.region(place)) < 0
        if self.place not in LOBES:
            inside &= body.fissures.field(self.place, place) < 0
        return inside & (SIDES[lung_of(self.place)] * points[:, 0] > 0)


def integrate(body: Body, geometry: Geometry, fills: Sequence[Fill], haze: Callable | None) -> dict[str, np.ndarray]:
    """Depth of each region along the beam, mm, and the lungs' mass, mm g/cm3. Shapes: [size, size] float32."""
    kx, ky, _ = body.thorax.scale
    reach = (165 * kx if geometry.sideways else 124 * ky + body.patient.breast) + body.patient.fat + STEP
    depths = (-reach, reach, STEP)
    whole, sums = Raster.of(geometry), {}
    for shares, _ in _gaps(whole, depths, lambda slab: body.thorax.body(slab, geometry.sideways), lambda name: whole):
        _add(sums, shares)
    sums |= _chest(body, geometry, depths, fills, haze)
    return {name: total * np.float32(STEP) for name, total in sums.items()}


def _chest(body: Body, geometry: Geometry, depths: tuple, fills: Sequence[Fill], haze: Callable | None) -> dict:
    """Lungs, lobes, what fills them, heart and aorta; each is summed up within the rectangle of its own shadow."""
    boxes = body.thorax.corners
    chest = Raster.of(geometry, np.concatenate(list(boxes.values())))
    places = {name: Raster.of(geometry, corners) for name, corners in boxes.items()}
    owners = {fill.name: lung_of(fill.place) for fill in fills} | {"_horizontal": "lung_right"}
    owners |= {lobe: lung for lung, lobes in LOBES.items() for lobe in lobes}
    owners |= {f"_{kind}_{lung}": lung for lung in LOBES for kind in ("oblique", "mass")}

    def place(name: str) -> Raster:
        return places[owners.get(name, name)]

    sums: dict[str, np.ndarray] = {}
    for shares, slab in _gaps(chest, depths, lambda slab: _organs(body, slab, fills), place, fills):
        _cut(shares, fills)
        for lung in LOBES:
            base = place(lung).sharpened(_lung(body, slab.cut(place(lung).within(chest)), haze))
            own = [fill for fill in fills if owners[fill.name] == lung]
            shares[f"_mass_{lung}"] = _mass(base, shares[lung], own, shares)
        _add(sums, shares)
    sums = {name: place(name).placed(total) for name, total in sums.items()}
    return sums | {"mass": sum(sums.pop(f"_mass_{lung}") for lung in LOBES)}


def _gaps(
    raster: Raster,
    depths: tuple[float, float, float],
    fields: Callable[[Slab], dict],
    place: Callable[[str], Raster],
    fills: Sequence[Fill] = (),
) -> Iterator[tuple[dict[str, np.ndarray], Slab]]:
    """Every region's share of each gap between two planes, with the farther plane."""
    before: dict[str, np.ndarray] = {}
    for slab in raster.planes(*depths):
        now = {name: place(name).sharpened(field[place(name).within(raster)]) for name, field in fields(slab).items()}
        now |= {fill.name: fill.field(now[fill.name]) for fill in fills if now}
        shares = {name: _share(before[name], now[name]) for name in now if name in before}
        if shares:
            yield shares, slab
        before = now


def _add(sums: dict[str, np.ndarray], shares: dict[str, np.ndarray]) -> None:
    for name, share in shares.items():
        if name in sums:
            sums[name] += share
        else:
            sums[name] = share


def _organs(body: Body, slab: Slab, fills: Sequence[Fill]) -> dict[str, np.ndarray]:
    """Fields of what lies in the chest; none on planes before and behind it."""
    thorax = body.thorax
    limit = CHEST * thorax.scale[1]
    if slab.y.min() > limit or slab.y.max() < -limit:
        return {}
    organs, between = thorax.central(slab)
    fields = organs | thorax.lungs(slab, between)
    for lung in LOBES:
        fields[f"_oblique_{lung}"] = body.fissures.oblique(lung, slab)
    fields["_horizontal"] = body.fissures.horizontal(slab)
    return fields | {fill.name: fill.region(slab) for fill in fills}


def _cut(shares: dict[str, np.ndarray], fills: Sequence[Fill]) -> None:
    """Share the lungs out among their lobes, and these among what fills them, so that the parts add up exactly."""
    for lung, (upper, *others) in LOBES.items():
        lower = others[-1]
        shares[lower] = shares[lung] * shares.pop(f"_oblique_{lung}")
        shares[upper] = shares[lung] - shares[lower]
    shares["right_middle"] = shares["right_upper"] * shares.pop("_horizontal")
    shares["right_upper"] = shares["right_upper"] - shares["right_middle"]
    for fill in fills:
        shares[fill.name] = shares[fill.name] * shares[fill.place]


def _share(before: np.ndarray, now: np.ndarray) -> np.ndarray:
    """Share of the gap between two planes that lies inside, exact where the field is straight between them."""
    inside = np.minimum(before, 0)
    inside += np.minimum(now, 0)
    length = np.abs(before)
    length += np.abs(now)
    length += np.float32(1e-6)
    np.divide(inside, length, out=inside)
    return np.negative(inside, out=inside)


def _lung(body: Body, slab: Slab, haze: Callable | None) -> np.ndarray:
    """Density of the lungs on a plane, g/cm3: more at the back, uneven, and what findings add."""
    ky = np.float32(body.thorax.scale[1])
    base = np.float32(body.patient.lung) * (1 + np.float32(0.10) * slab.y / (90 * ky))
    base = base * (1 + np.float32(0.07) * body.texture(slab))
    return base if haze is None else base + haze(slab)


def _mass(base: np.ndarray, lung: np.ndarray, fills: Sequence[Fill], shares: dict[str, np.ndarray]) -> np.ndarray:
    """Mass of a lung within one gap, per mm of step, g/cm3."""
    mass = lung * base
    for fill in fills:
        mass += shares[fill.name] * (np.float32(fill.density) - base)
    return mass
