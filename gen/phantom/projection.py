"""Mass along every ray, material by material, and the path through every organ and finding."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from gen.phantom.body import Body
from gen.phantom.geometry import Geometry, Slab
from gen.phantom.integration import Fill, integrate
from gen.phantom.lobes import LOBES
from gen.phantom.physics import DENSITIES
from gen.phantom.skeleton import arms, bone_paths
from gen.phantom.solids import Solid, chords
from gen.phantom.tubes import Tubes, paths

BLOOD = 1.05  # g/cm3


@dataclass
class Maps:
    """Masses (g/cm2) by material and paths (mm) by organ. Shapes: every map [size, size] float32."""

    masses: dict[str, np.ndarray]
    organs: dict[str, np.ndarray]
    displaced: np.ndarray


def project(
    body: Body,
    geometry: Geometry,
    fills: Sequence[Fill] = (),
    haze: Callable[[Slab], np.ndarray] | None = None,
    vessels: Tubes | None = None,
) -> Maps:
    """Masses and paths of a patient in a view; `haze` adds density to the lungs, `vessels` replace their own."""
    sums = integrate(body, geometry, fills, haze)
    oblique = geometry.obliquity()
    sums = {name: value * oblique for name, value in sums.items()}
    air = _air(body, geometry, sums)
    lungs = sums["lung_right"] + sums["lung_left"]
    breast = sums.get("breast", np.zeros_like(lungs))
    fat = sums["body"] - sums["inner"] + 0.6 * breast
    soft = np.maximum(sums["inner"] - lungs - air["trachea"] - air["gas"], 0) + 0.4 * breast
    flesh = sum(chords(geometry, [arm]) for arm in arms(body.patient, geometry.sideways))
    if not geometry.sideways:  # hanging arms join the trunk, raised ones stand off it
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
        if name == ("humeri" if geometry.sideways else "raised"):
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
