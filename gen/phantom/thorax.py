"""The soft organs as signed fields: negative inside, positive outside, close to millimetres near their borders."""

from __future__ import annotations

from functools import cached_property
from types import SimpleNamespace

import numpy as np
from scipy.interpolate import PchipInterpolator

from gen.phantom.anatomy import APEX, HALF_DEPTH, HALF_WIDTH, HEIGHT, Patient
from gen.phantom.geometry import Slab
from gen.phantom.great_vessels import heart_parts, mediastinum_parts, spine_depth
from gen.phantom.solids import Cluster, Solid, blended, nearest

OUTSIDE = 40.0  # mm, what a field says far from its organ
CORNERS = 0.42  # 0 an ellipse, 1 a rectangle: the rib cage's cross-section
# the pleural cavity from the apex (0) to the costophrenic angle (1), in reference half-widths and half-depths
LEVELS = (-0.01, 0.0, 0.02, 0.06, 0.13, 0.24, 0.38, 0.55, 0.75, 1.0, 1.3)
OUTER = (0.0, 0.02, 0.11, 0.20, 0.32, 0.45, 0.56, 0.64, 0.69, 0.70, 0.66)  # beyond the lung's own axis
INNER = (0.0, 0.02, 0.11, 0.18, 0.25, 0.29, 0.30, 0.30, 0.30, 0.30, 0.30)  # from that axis to the middle
DEPTH = (0.0, 0.03, 0.20, 0.34, 0.47, 0.62, 0.77, 0.90, 0.98, 1.0, 0.97)
MIDDLE = (26.0, 26.0, 25.0, 22.0, 17.0, 10.0, 5.0, 1.0, -1.0, 0.0, 3.0)  # y of its middle, mm
LUNG_AXIS = 0.30  # |x| of the apices, in half-widths
# the body's outline by reference z, mm: half-width, half-depth, y of its middle
HEIGHTS = (-260, -160, -100, -40, 0, 30, 60, 80, 95, 108, 122, 140, 170, 260)
BODY_WIDTH = (160, 160, 163, 166, 172, 180, 186, 182, 166, 132, 92, 68, 60, 60)
BODY_DEPTH = (110, 112, 114, 115, 114, 112, 106, 98, 90, 82, 75, 68, 62, 60)
BODY_MIDDLE = (0, 0, 0, 1, 3, 6, 10, 13, 15, 17, 18, 18, 16, 14)


class Thorax:
    """The shapes of one patient."""

    def __init__(self, patient: Patient) -> None:
        self.patient = patient
        self.scale = patient.scale
        self.heart = Cluster.of(heart_parts(patient))
        self.mediastinum = {name: Cluster.of(parts) for name, parts in mediastinum_parts(patient).items()}
        self.lift = {"right": patient.domes[0] * patient.grown, "left": patient.domes[1] * patient.grown}

    @cached_property
    def cavity(self) -> dict[str, PchipInterpolator]:
        """Curves of the rib cage over the level from apex to base."""
        kx, ky, _ = self.scale
        tables = {
            "outer": np.array(OUTER) * HALF_WIDTH * kx,
            "inner": np.array(INNER) * HALF_WIDTH * kx,
            "depth": np.array(DEPTH) * HALF_DEPTH * ky,
            "middle": np.array(MIDDLE) * ky,
        }
        return {name: PchipInterpolator(LEVELS, table) for name, table in tables.items()}

    def section(self, z: np.ndarray) -> SimpleNamespace:
        """The cavity's outer, inner and depth half-axes and middle at heights. Shapes: [...] -> 4 x [...]."""
        level = np.clip((APEX * self.scale[2] - z) / (HEIGHT * self.scale[2]), LEVELS[0], LEVELS[-1])
        return SimpleNamespace(**{name: curve(level).astype(np.float32) for name, curve in self.cavity.items()})

    @cached_property
    def lung_axis(self) -> float:
        """|x| of the lungs' vertical axes, mm."""
        return LUNG_AXIS * HALF_WIDTH * self.scale[0]

    def cage(self, slab: Slab, side: int, section: SimpleNamespace) -> np.ndarray:
        """Field of the pleural cavity of a side (1 left, -1 right), without diaphragm and mediastinum."""
        across = side * slab.x - self.lung_axis
        width = np.where(across > 0, 1 / np.maximum(section.outer, 1), 1 / np.maximum(section.inner, 1))
        u = (across * width) ** 2
        v = ((slab.y - section.middle) / np.maximum(section.depth, 1)) ** 2
        return (np.sqrt(np.maximum(u + v - CORNERS * u * v, u * 0.5)) - 1) * np.minimum(section.depth, 60)

    def dome(self, slab: Slab, side: int) -> np.ndarray:
        """Height of a hemidiaphragm (1 left, -1 right) over x and y, mm."""
        kx, ky, kz = self.scale
        lift, peak = (self.lift["left"], -106) if side > 0 else (self.lift["right"], -94)
        u = (slab.x - side * 60 * kx) / (86 * kx)
        v = (slab.y + 8 * ky) / (106 * ky)
        u2, v2 = u * u, v * v
        rise = np.sqrt(np.maximum(1 - u2 - v2 + 0.25 * u2 * v2, 0))
        waves = 1.8 * kx * np.sin(slab.x / (17 * kx) + self.patient.seed % 7)
        base = (peak - 62) * kz
        side_dome = base + (62 * kz + lift) * rise + waves * rise
        u, v = (slab.x - 8 * kx) / (62 * kx), (slab.y + 25 * ky) / (80 * ky)
        centre = base + 50 * kz * np.sqrt(np.maximum(1 - u * u - v * v, 0))
        return np.maximum(side_dome, centre)

    def body(self, slab: Slab, inset: float = 0.0) -> np.ndarray:
        """Field of the trunk, neck and shoulders, `inset` mm inside the skin, without breasts."""
        kx, ky, kz = self.scale
        level = slab.z / kz
        width = np.interp(level, HEIGHTS, BODY_WIDTH) * kx + self.patient.fat + self._shoulder(level) - inset
        depth = np.interp(level, HEIGHTS, BODY_DEPTH) * ky + 0.8 * self.patient.fat - inset
        middle = np.interp(level, HEIGHTS, BODY_MIDDLE) * ky
        u = (slab.x / width.astype(np.float32)) ** 2
        v = ((slab.y - middle.astype(np.float32)) / depth.astype(np.float32)) ** 2
        return (np.sqrt(np.maximum(u + v - 0.5 * u * v, 0.5 * u)) - 1) * np.float32(100 * ky)

    def _shoulder(self, level: np.ndarray) -> np.ndarray:
        raised = self.patient.shoulders * self.patient.grown
        belly = 0.9 * self.patient.fat * np.interp(level, (-160, -60), (0.35, 0.0))
        return raised * np.interp(level, (20, 60, 100, 130), (0, 1, 1, 0)) + belly

    def central(self, slab: Slab) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """Fields of the heart and aorta, and of everything that lies between the lungs."""
        heart = blended(slab, self.heart, blend=14 * float(self.scale[0]))
        fields = {name: nearest(slab, parts, OUTSIDE) for name, parts in self.mediastinum.items()}
        between = np.minimum(heart, self._spine(slab))
        for field in fields.values():
            np.minimum(between, field, out=between)
        return {"heart": heart, "aorta": fields["aorta"]}, between

    def _spine(self, slab: Slab) -> np.ndarray:
        kx, ky, kz = self.scale
        depth = spine_depth(self.patient, slab.z).astype(np.float32)
        u, v = (slab.x - bend(self.patient, slab.z)) / (23 * kx), (slab.y - depth - 3 * ky) / (27 * ky)
        return (np.sqrt(u * u + v * v) - 1) * np.float32(22 * kx)

    def lungs(self, slab: Slab, between: np.ndarray) -> dict[str, np.ndarray]:
        """Fields of the right and left pleural cavity."""
        section = self.section(slab.z)
        fields = {}
        for name, side in (("lung_right", -1), ("lung_left", 1)):
            field = np.maximum(self.cage(slab, side, section), (self.dome(slab, side) - slab.z) * np.float32(0.7))
            fields[name] = np.maximum(field, -between, out=field)
        return fields

    @cached_property
    def breasts(self) -> Cluster:
        """Two ellipsoids on the chest wall, none in men and children."""
        size = self.patient.breast
        if size <= 0:
            return Cluster.of([])
        kx, ky, kz = self.scale
        front = -(BODY_DEPTH[3] * ky + 0.6 * self.patient.fat) + 14
        drop = (-38 - 0.5 * size) * kz
        radii = np.array([38 + 0.55 * size, 16 + 0.75 * size, 36 + 0.5 * size]) * [kx, ky, kz]
        places = ((side * (78 * kx + 0.15 * size), front, drop) for side in (-1, 1))
        return Cluster.of([Solid.along_axes(place, radii) for place in places])


def bend(patient: Patient, z: np.ndarray) -> np.ndarray:
    """Sideways course of the spine, mm. Shapes: [...] -> [...]."""
    return np.asarray(patient.scoliosis * np.sin(z / (60 * patient.scale[2])), dtype=np.float32)
