"""Mass along every ray, material by material, and the path through every organ and finding."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from gen.phantom.body import Body, cloud
from gen.phantom.coarse import Raster
from gen.phantom.geometry import Geometry, Slab
from gen.phantom.lobes import LOBES, SIDES, lung_of
from gen.phantom.physics import DENSITIES
from gen.phantom.skeleton import arms, bone_paths
from gen.phantom.solids import Solid, chords
from gen.phantom.tubes import Tubes, paths

STEP = 8.0  # mm between the planes that are sampled; borders between them are found by interpolation
CHEST = 112.0  # reference mm before and behind the aim that hold all of the lungs
BLOOD = 1.05  # g/cm3


@dataclass
class Maps:
    """Masses (g/cm2) by material and paths (mm) by organ. Shapes: every map [size, size] float32."""

    masses: dict[str, np.ndarray]
    organs: dict[str, np.ndarray]
    displaced: np.ndarray


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


def _sideways(geometry: Geometry) -> bool:
    """Whether the view is nearer to a lateral: the arms are raised for those."""
    return abs(np.sin(np.deg2rad(geometry.angle))) > np.sqrt(0.5)


def project(
    body: Body,
    geometry: Geometry,
    fills: Sequence[Fill] = (),
    haze: Callable[[Slab], np.ndarray] | None = None,
    vessels: Tubes | None = None,
) -> Maps:
    """Masses and paths of a patient in a view; `haze` adds density to the lungs, `vessels` replace their own."""
    sums = _integrate(body, geometry, fills, haze)
    oblique = geometry.obliquity()
    sums = {name: value * oblique for name, value in sums.items()}
    air = _air(body, geometry, sums)
    lungs = sums["lung_right"] + sums["lung_left"]
    breast = sums.get("breast", np.zeros_like(lungs))
    fat = sums["body"] - sums["inner"] + 0.6 * breast
    soft = np.maximum(sums["inner"] - lungs - air["trachea"] - air["gas"], 0) + 0.4 * breast
    flesh = sum(chords(geometry, [arm]) for arm in arms(body.patient, _sideways(geometry)))
    if not _sideways(geometry):  # hanging arms join the trunk, raised ones stand off it
        flesh = np.maximum(flesh - sums["body"], 0)
    soft, sums["body"] = soft + flesh, sums["body"] + flesh
    organs = {name: sums[name] for name in ("lung_right", "lung_left", "heart", "aorta", "body")}
    organs |= {lobe: sums[lobe] for lobes in LOBES.values() for lobe in lobes}
    organs |= {fill.name: sums[fill.name] for fill in fills} | {"trachea": air["trachea"]}
    masses = {"soft": soft * (DENSITIES["soft"] / 10), "lung": sums["mass"] / 10, "fat": fat * (DENSITIES["fat"] / 10)}
    maps = Maps(masses, organs, np.zeros_like(soft))
    _add_bones(body, geometry, maps)
    _add_vessels(geometry, maps, lungs, (_outside(body, vessels or body.vessels, fills), body.patient.lung))
    return maps


def _integrate(body: Body, geometry: Geometry, fills: Sequence[Fill], haze: Callable | None) -> dict[str, np.ndarray]:
    """Sum each region's share of every gap between two planes, mm, and the lungs' mass, mm g/cm3."""
    sideways = _sideways(geometry)
    kx, ky, _ = body.thorax.scale
    reach = (165 * kx if sideways else 124 * ky + body.patient.breast) + body.patient.fat + STEP
    depths = (-reach, reach, STEP)
    outline, chest = Raster.of(geometry), Raster.of(geometry, body.thorax.corners)
    sums: dict[str, np.ndarray] = {}
    for shares, _ in _gaps(outline, depths, lambda slab: body.thorax.body(slab, sideways)):
        _add(sums, shares)
    organs: dict[str, np.ndarray] = {}
    for shares, slab in _gaps(chest, depths, lambda slab: _organs(body, slab, fills), fills):
        _cut(shares, fills)
        shares["mass"] = _density(chest.sharpened(_lung(body, slab, haze)), fills, shares)
        _add(organs, shares)
    sums |= {name: chest.placed(total) for name, total in organs.items()}
    return {name: total * np.float32(STEP) for name, total in sums.items()}


def _gaps(
    raster: Raster, depths: tuple[float, float, float], fields: Callable[[Slab], dict], fills: Sequence[Fill] = ()
) -> Iterator[tuple[dict[str, np.ndarray], Slab]]:
    """Every region's share of each gap between two planes, with the farther plane."""
    before: dict[str, np.ndarray] = {}
    for slab in raster.planes(*depths):
        now = {name: raster.sharpened(value) for name, value in fields(slab).items()}
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


def _density(base: np.ndarray, fills: Sequence[Fill], shares: dict[str, np.ndarray]) -> np.ndarray:
    """Mass of the lungs within one gap, per mm of step, g/cm3."""
    mass = (shares["lung_right"] + shares["lung_left"]) * base
    for fill in fills:
        mass += shares[fill.name] * (np.float32(fill.density) - base)
    return mass


def _air(body: Body, geometry: Geometry, sums: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    trachea = paths(geometry, body.airways)
    for bronchus in body.bronchi:
        trachea = np.maximum(trachea, 0.8 * paths(geometry, bronchus))
    return {
        "trachea": np.minimum(trachea, sums["inner"]),
        "gas": sum(chords(geometry, bubble) for bubble in _gas(body)),
    }


def _gas(body: Body) -> list[list[Solid]]:
    """Air in the stomach, under the left dome, and in some loops of the colon below it: lumps of ellipsoids."""
    rng = body.patient.rng("gas")
    kx, ky, kz = body.thorax.scale
    wide, tall = rng.uniform(8, 40), rng.uniform(6, 22)
    top = -112 * kz - 10 + 0.8 * body.thorax.lift["left"]
    middle = np.array([(52 + rng.normal(0, 10)) * kx, -10 * ky, top - tall * kz - 6])
    bubbles = [_lump(rng, middle, np.array([wide, wide * 0.8, tall]) * body.thorax.scale, 3)]
    for _ in range(rng.integers(0, 4)):
        place = np.array([rng.normal(40, 50), -50, rng.uniform(-230, -175)]) * body.thorax.scale
        bubbles.append(_lump(rng, place, rng.uniform((12, 8, 8), (34, 14, 18)) * body.patient.grown, 5))
    return bubbles


def _lump(rng: np.random.Generator, middle: np.ndarray, radii: np.ndarray, count: int) -> list[Solid]:
    """Overlapping ellipsoids about the middle of a bubble, as the folds of the gut leave it."""
    offsets = rng.uniform(-0.75, 0.75, (count, 3)) * radii
    return [Solid.along_axes(middle + offset, radii * rng.uniform(0.45, 0.8, 3)) for offset in offsets]


def _add_bones(body: Body, geometry: Geometry, maps: Maps) -> None:
    mineral = np.zeros_like(maps.displaced)
    for name, bone in body.bones.items():
        if name == ("humeri" if _sideways(geometry) else "raised"):
            continue
        mass, path = bone_paths(geometry, bone)
        maps.organs["humeri" if name == "raised" else name] = path
        mineral += mass * np.float32(body.patient.density)
    maps.masses["bone"] = mineral
    # marrow stays; only the mineral takes the place of soft tissue
    maps.displaced = np.minimum(mineral * (DENSITIES["soft"] / DENSITIES["bone"]), maps.masses["soft"])
    maps.masses["soft"] = maps.masses["soft"] - maps.displaced


def _outside(body: Body, tubes: Tubes, fills: Sequence[Fill]) -> Tubes:
    """The vessels that still stand against air."""
    middle = (tubes.start + tubes.end) / 2
    keep = np.ones(len(middle), bool)
    for fill in fills:
        keep &= ~fill.holds(body, middle)
    return Tubes(*(getattr(tubes, name)[keep] for name in Tubes.__dataclass_fields__))


def _add_vessels(geometry: Geometry, maps: Maps, lungs: np.ndarray, vessels: tuple[Tubes, float]) -> None:
    tubes, lung = vessels
    path = np.minimum(paths(geometry, tubes), lungs * 0.6)
    maps.masses["lung"] = maps.masses["lung"] + path * ((BLOOD - lung) / 10)
    maps.organs["vessels"] = path
