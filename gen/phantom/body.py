"""One patient's shapes: made once for all views, and asked for places within the lungs and their lobes."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property, lru_cache

import numpy as np

from gen.phantom.anatomy import Patient
from gen.phantom.geometry import Slab
from gen.phantom.lobes import LOBES, Fissures
from gen.phantom.lung_vessels import lung_vessels
from gen.phantom.skeleton import skeleton
from gen.phantom.texture import Waves
from gen.phantom.thorax import Thorax
from gen.phantom.tubes import Tubes, chain, smooth

GROUND = (10.0, 14.0, 10.0)  # mm along x, y, z between the points that stand for a lung
GROUND_VOLUME = 1.4  # ml that each of them stands for
TRACHEA = ((2, -8, 240), (2, 2, 175), (2, 8, 130), (1, 14, 80), (2, 22, 38))
BRONCHI = (((2, 22, 38), (-17, 21, 24), (-34, 17, 10)), ((2, 22, 38), (20, 24, 26), (38, 22, 15)))


@dataclass
class Body:
    """One patient's shapes, made once for all views."""

    patient: Patient
    thorax: Thorax = field(init=False)

    def __post_init__(self) -> None:
        self.thorax = Thorax(self.patient)

    @cached_property
    def bones(self) -> dict:
        """Every bone by name."""
        return skeleton(self.thorax)

    @cached_property
    def fissures(self) -> Fissures:
        """The borders between the lobes."""
        return Fissures.of(self.patient)

    @property
    def grounds(self) -> dict[str, np.ndarray]:
        """Points that fill each lung evenly. Shapes: [M, 3]."""
        return {name: found[:, :3] for name, found in self._filling.items()}

    def region_points(self, lung: str, lobe: str = "") -> np.ndarray:
        """Points that fill a lung, or one of its lobes, evenly. Shapes: [M, 3]."""
        return self._within(lung, lobe)[:, :3]

    def depths(self, lung: str, lobe: str) -> np.ndarray:
        """About the distance of those points from the border of their lobe, mm. Shapes: [M]."""
        points = self._within(lung, lobe)
        return np.minimum(points[:, 3], -self.fissures.field(lobe, cloud(points)) if lobe else np.inf)

    def lobe_at(self, place: np.ndarray, lung: str) -> str:
        """The lobe of a lung that a point lies in."""
        point = cloud(np.asarray(place, dtype=np.float32)[None])
        return min(LOBES[lung], key=lambda lobe: float(self.fissures.field(lobe, point)[0]))

    def _within(self, lung: str, lobe: str) -> np.ndarray:
        return self._lobes[lobe] if lobe else self._filling[lung]

    @cached_property
    def _lobes(self) -> dict[str, np.ndarray]:
        """The points of each lobe. Shapes: [M, 4]."""
        held = [(lobe, self._filling[lung]) for lung, lobes in LOBES.items() for lobe in lobes]
        return {lobe: points[self.fissures.field(lobe, cloud(points)) < 0] for lobe, points in held}

    @cached_property
    def _filling(self) -> dict[str, np.ndarray]:
        """Places in each lung and their depth below its surface. Shapes: [M, 4]."""
        kx, ky, kz = self.thorax.scale
        x = np.arange(-160 * kx, 160 * kx, GROUND[0], dtype=np.float32)
        z = np.arange(-170 * kz, 140 * kz, GROUND[2], dtype=np.float32)
        y = np.arange(-105 * ky, 115 * ky, GROUND[1], dtype=np.float32)
        # all planes side by side, as columns of one
        planes = Slab(np.tile(x, len(y))[None], np.repeat(y, len(x))[None], z[:, None], 0.0)
        _, between = self.thorax.central(planes)
        return {name: _inside(planes, lung) for name, lung in self.thorax.lungs(planes, between).items()}

    @cached_property
    def vessels(self) -> Tubes:
        """Pulmonary arteries and veins."""
        lobes = {lobe: self.region_points(lung, lobe) for lung, lobes in LOBES.items() for lobe in lobes}
        return lung_vessels(self.patient, lobes)

    @cached_property
    def airways(self) -> Tubes:
        """Trachea and main bronchi."""
        size = float(np.cbrt(np.prod(self.thorax.scale)))
        return chain(
            smooth(TRACHEA, 14) * self.thorax.scale, np.array([[9.8, 9.0]]) * size, np.tile([1.0, 0.0, 0.0], (14, 1))
        )

    @cached_property
    def bronchi(self) -> list[Tubes]:
        """Right and left main bronchus."""
        size = float(np.cbrt(np.prod(self.thorax.scale)))
        return [chain(smooth(course, 8) * self.thorax.scale, np.linspace(7, 4.5, 8) * size) for course in BRONCHI]

    @cached_property
    def texture(self) -> Waves:
        """Uneven density of the lungs."""
        return Waves.drawn(self.patient.rng("texture"), 48, (18.0, 110.0))


@lru_cache(maxsize=4)
def body_of(patient: Patient) -> Body:
    """A patient's shapes, kept for a short while: findings are placed in them, then projected, view after view."""
    return Body(patient)


def cloud(points: np.ndarray) -> Slab:
    """Points in the form that fields are asked with. Shapes: [N, 3 or more]."""
    return Slab(points[:, 0], points[:, 1], points[:, 2], 0.0)


def _inside(plane: Slab, lung: np.ndarray) -> np.ndarray:
    """Points of a plane at least 2 mm within a lung, and their depths. Shapes: lung [H, W] -> [M, 4]."""
    row, column = np.nonzero(lung < -2)
    order = np.argsort(plane.y[0, column], kind="stable")  # from the front to the back
    row, column = row[order], column[order]
    return np.stack([plane.x[0, column], plane.y[0, column], plane.z[row, 0], -lung[row, column]], 1)
