"""The soft organs as signed fields: negative inside, positive outside, close to millimetres near their borders."""

from __future__ import annotations

from functools import cache, cached_property
from itertools import product
from types import SimpleNamespace

import numpy as np
from scipy.interpolate import PchipInterpolator

from gen.phantom.anatomy import APEX, HALF_DEPTH, HALF_WIDTH, HEIGHT, Patient
from gen.phantom.geometry import Slab
from gen.phantom.great_vessels import heart_parts, mediastinum_parts, spine_depth
from gen.phantom.solids import Cluster, blended, nearest

OUTSIDE = 40.0  # mm, what a field says far from its organ
CORNERS, MEDIAL = 0.42, 0.3  # 0 an ellipse, 1 a rectangle: the rib cage's cross-section outwards and inwards
# the pleural cavity from the apex (0) to the costophrenic angle (1), in reference half-widths and half-depths
LEVELS = (-0.01, 0.0, 0.02, 0.06, 0.13, 0.24, 0.38, 0.55, 0.75, 1.0, 1.3)
OUTER = (0.0, 0.03, 0.16, 0.29, 0.43, 0.56, 0.645, 0.685, 0.69, 0.675, 0.63)  # beyond the lung's own axis
INNER = (0.0, 0.02, 0.11, 0.18, 0.25, 0.29, 0.30, 0.30, 0.30, 0.30, 0.30)  # from that axis to the middle
DEPTH = (0.0, 0.03, 0.20, 0.34, 0.47, 0.62, 0.77, 0.90, 0.98, 1.0, 0.97)
MIDDLE = (26.0, 26.0, 25.0, 22.0, 17.0, 10.0, 5.0, 1.0, -1.0, 0.0, 3.0)  # y of its middle, mm
FINE = np.linspace(LEVELS[0], LEVELS[-1], 263)
SWAY = 0.25  # share of the spine's sideways bend that the rib cage's walls follow
BLEND = 22.0  # reference mm over which the creases between the parts of the heart are filled
LUNG_AXIS = 0.30  # |x| of the apices, in half-widths
# the body's outline by reference z, mm: half-width, half-depth, y of its middle
HEIGHTS = (-260, -160, -100, -40, 0, 30, 60, 80, 95, 108, 122, 140, 170, 260)
BODY_WIDTH = (156, 156, 157, 159, 163, 170, 180, 186, 182, 160, 112, 72, 56, 54)
BODY_DEPTH = (112, 114, 115, 114, 112, 108, 102, 95, 88, 81, 71, 61, 54, 54)
ARMS_UP = (156, 156, 157, 158, 158, 156, 150, 140, 126, 108, 86, 70, 60, 60)  # half-width with the arms raised
BODY_MIDDLE = (0, 4, 6, 8, 11, 14, 17, 19, 20, 19, 16, 11, 3, -8)


class Thorax:
    """The shapes of one patient."""

    def __init__(self, patient: Patient) -> None:
        self.patient = patient
        self.scale = patient.scale
        self.factors = tuple(
            float(factor) for factor in patient.scale
        )  # plain numbers leave float32 fields as they are
        self.heart = Cluster.of(heart_parts(patient))
        self.mediastinum = {name: Cluster.of(parts) for name, parts in mediastinum_parts(patient).items()}
        self.lift = {"right": patient.domes[0] * patient.grown, "left": patient.domes[1] * patient.grown}

    @cached_property
    def cavity(self) -> dict[str, np.ndarray]:
        """The rib cage at `FINE` levels from apex to base."""
        kx, ky, _ = self.scale
        tables = {
            "outer": np.array(OUTER) * HALF_WIDTH * kx,
            "inner": np.array(INNER) * HALF_WIDTH * kx,
            "depth": np.array(DEPTH) * HALF_DEPTH * ky,
            "middle": np.array(MIDDLE) * ky,
        }
        return {name: PchipInterpolator(LEVELS, table)(FINE) for name, table in tables.items()}

    def section(self, z: np.ndarray) -> SimpleNamespace:
        """The cavity's outer, inner and depth half-axes and middle at heights. Shapes: [...] -> 4 x [...]."""
        level = (APEX * self.scale[2] - z) / (HEIGHT * self.scale[2])
        curves = {name: np.interp(level, FINE, curve).astype(np.float32) for name, curve in self.cavity.items()}
        return SimpleNamespace(**curves)

    @cached_property
    def lung_axis(self) -> float:
        """|x| of the lungs' vertical axes, mm."""
        return LUNG_AXIS * HALF_WIDTH * self.factors[0]

    def cage(self, slab: Slab, side: int, section: SimpleNamespace) -> np.ndarray:
        """Field of the pleural cavity of a side (1 left, -1 right), without diaphragm and mediastinum."""
        across = side * (slab.x - np.float32(SWAY) * bend(self.patient, slab.z)) - self.lung_axis
        width = np.where(across > 0, 1 / np.maximum(section.outer, 1), 1 / np.maximum(section.inner, 1))
        u = (across * width) ** 2
        v = ((slab.y - section.middle) / np.maximum(section.depth, 1)) ** 2
        corners = np.where(across > 0, np.float32(CORNERS), np.float32(MEDIAL))
        return (np.sqrt(np.maximum(u + v - corners * u * v, u * 0.5)) - 1) * np.minimum(section.depth, 60)

    def dome(self, slab: Slab, side: int) -> np.ndarray:
        """Height of a hemidiaphragm (1 left, -1 right) over x and y, mm."""
        kx, ky, kz = self.factors
        lift, peak = (self.lift["left"], -106) if side > 0 else (self.lift["right"], -94)
        u, v = (side * slab.x / kx - 62), (slab.y / ky + 16)
        u = np.where(u < 0, u / 140, u / 88)  # it comes down to the side and the back, little to the front and middle
        v = np.where(v < 0, v / 165, v / 118)
        square = u * u + v * v
        rise = 1 - square * np.sqrt(square)
        waves = 1.8 * kx * np.sin(slab.x / (17 * kx) + self.patient.seed % 7)
        base = (peak - 62) * kz
        side_dome = base + (62 * kz + lift) * rise + waves * rise
        u, v = (slab.x - 8 * kx) / (86 * kx), (slab.y + 24 * ky) / (92 * ky)
        centre = base + 58 * kz * np.sqrt(np.maximum(1 - u * u - v * v, 0))
        return np.maximum(side_dome, centre)

    def body(self, slab: Slab, arms_up: bool = False) -> dict[str, np.ndarray]:
        """Fields of the trunk with neck and shoulders, of the same within the fat, and of the breasts before it."""
        kx, ky, kz = self.factors
        level, fat = slab.z / kz, self.patient.fat
        table = ARMS_UP if arms_up else BODY_WIDTH
        width = _outline(table, level) * kx + self._shoulder(level)
        depth = _outline(BODY_DEPTH, level) * ky * (0.9 + 0.1 * self.patient.muscle)
        y = slab.y - (_outline(BODY_MIDDLE, level) * ky).astype(np.float32)
        outer = _squircle(slab.x, y, width + fat, depth + 0.8 * fat)
        fields = {"body": outer, "inner": _squircle(slab.x, y, width, depth)}
        if self.patient.breast > 0 and y.min() < -0.5 * depth.min():
            breast = self._breast(slab, y, width + fat, depth + 0.8 * fat)
            fields["breast"] = np.maximum(np.maximum(breast, y), -outer)
        return fields

    def _breast(self, slab: Slab, y: np.ndarray, width: np.ndarray, depth: np.ndarray) -> np.ndarray:
        """Full below the nipple, running out towards the collar bone."""
        kx, _, kz = self.factors
        size = np.float32(self.patient.breast)
        wide = (46 + 0.42 * size) * kx
        across = (np.abs(slab.x) - (74 * kx + 0.12 * size)) / wide
        rise = slab.z + (36 + 0.62 * size) * kz
        up = np.where(rise > 0, rise / (88 * kz), rise / ((26 + 0.34 * size) * kz))
        # round below, fading upwards
        shape = np.maximum(1 - across * across - up * up, 0)
        bulge = size * shape ** (0.8 + 0.6 * np.clip(rise / (30 * kz), -0.4, 1)).astype(np.float32)
        u = (slab.x / width.astype(np.float32)) ** 2
        skin = depth.astype(np.float32) * np.sqrt(np.maximum(1 - u, 0) / np.maximum(1 - 0.4 * u, 0.1))
        return np.where(bulge > 0, -(y + skin + bulge) * np.float32(0.8), np.float32(OUTSIDE))

    def _shoulder(self, level: np.ndarray) -> np.ndarray:
        raised = self.patient.shoulders * self.patient.grown
        belly = 0.9 * self.patient.fat * np.interp(level, (-160, -60), (0.35, 0.0))
        return raised * np.interp(level, (20, 60, 100, 130), (0, 1, 1, 0)) + belly

    def central(self, slab: Slab) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """Fields of the heart and aorta, and of everything that lies between the lungs."""
        heart = blended(slab, self.heart, blend=BLEND * float(self.scale[0]))
        fields = {name: nearest(slab, parts, OUTSIDE) for name, parts in self.mediastinum.items()}
        between = np.minimum(heart, self._spine(slab))
        for field in fields.values():
            np.minimum(between, field, out=between)
        return {"heart": heart, "aorta": fields["aorta"]}, between

    def _spine(self, slab: Slab) -> np.ndarray:
        kx, ky, _ = self.factors
        depth = spine_depth(self.patient, slab.z).astype(np.float32)
        # muscles and rib heads beside it: the lungs' inner border slants away from it to the back
        wide = 17 * kx + np.float32(0.7 * kx / ky) * np.clip(slab.y - depth + 4 * ky, 0, 45 * ky)
        u, v = (slab.x - bend(self.patient, slab.z)) / wide, (slab.y - depth - 10 * ky) / (34 * ky)
        return (np.sqrt(u * u + v * v) - 1) * np.float32(24 * kx)

    def lungs(self, slab: Slab, between: np.ndarray) -> dict[str, np.ndarray]:
        """Fields of the right and left pleural cavity, worked out only where the chest lies."""
        fields = {}
        for name, side in (("lung_right", -1), ("lung_left", 1)):
            window = self._half(slab, side)
            part = slab.cut(window)
            inside = np.maximum(
                self.cage(part, side, self.section(part.z)), (self.dome(part, side) - part.z) * np.float32(0.7)
            )
            fields[name] = np.full(slab.shape, OUTSIDE, dtype=np.float32)
            np.maximum(inside, -between[window], out=fields[name][window])
        return fields

    @cached_property
    def corners(self) -> dict[str, np.ndarray]:
        """Of a box about each lung, heart and aorta. Shapes: [8, 3], mm."""
        boxes = {
            "heart": self.heart.box(1.5 * BLEND * float(self.scale[0])),
            "aorta": self.mediastinum["aorta"].box(8.0),
        }
        for name, side in (("lung_right", -1), ("lung_left", 1)):
            centre, reach = self._hull(side)
            boxes[name] = np.stack([centre - reach, centre + reach])
        return {name: np.array(list(product(*box.T))) for name, box in boxes.items()}

    def _hull(self, side: int) -> tuple[np.ndarray, np.ndarray]:
        """Middle and half-axes of a box that holds a lung. Shapes: 2 x [3], mm."""
        centre = np.array([side * 0.48 * HALF_WIDTH, 0.0, APEX - HEIGHT / 2]) * self.scale
        return centre, np.array([0.56 * HALF_WIDTH, 1.15 * HALF_DEPTH, 0.57 * HEIGHT]) * self.scale

    def _half(self, slab: Slab, side: int) -> tuple[slice, slice]:
        """Rows and columns of a plane where a lung may lie."""
        centre, reach = self._hull(side)
        top, bottom, left, right = (int(limit[0]) for limit in slab.windows(centre[None], reach[None]))
        return slice(top, max(bottom, top)), slice(left, max(right, left))


def _outline(table: tuple[int, ...], level: np.ndarray) -> np.ndarray:
    heights, values = _fine(table)
    return np.interp(level, heights, values)


@cache
def _fine(table: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    heights = np.linspace(HEIGHTS[0], HEIGHTS[-1], 261)
    return heights, PchipInterpolator(HEIGHTS, table)(heights)


def _squircle(x: np.ndarray, y: np.ndarray, width: np.ndarray, depth: np.ndarray) -> np.ndarray:
    """Field of a rounded rectangle, about mm near its front and back."""
    u = (x / width.astype(np.float32)) ** 2
    v = (y / depth.astype(np.float32)) ** 2
    field = np.sqrt(np.maximum(u + v - 0.4 * u * v, 0.6 * u)) - 1
    field *= np.float32(depth.mean())
    return field


def bend(patient: Patient, z: np.ndarray) -> np.ndarray:
    """Sideways course of the spine, mm: a long bow and a shorter one against it. Shapes: [...] -> [...]."""
    height, turn = z / patient.scale[2], patient.seed % 13
    return np.asarray(
        patient.scoliosis * (np.sin(height / 75 + turn) - 0.35 * np.sin(height / 38 + turn)), dtype=np.float32
    )
