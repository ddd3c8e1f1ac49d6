"""Findings with a size and a place: what there is, how it is drawn, and in which lobe it lies."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gen.phantom.body import GROUND_VOLUME, Body
from gen.phantom.lobes import SIDES

UNITS = {
    "effusion": "ml",
    "consolidation": "ml",
    "atelectasis": "ml",
    "pneumothorax": "ml",
    "edema": "g/cm3",
    "nodule": "mm",
    "mass": "mm",
    "cardiomegaly": "ratio",
}
SIZES = {  # smallest and largest that are drawn for an adult, in their unit
    "effusion": (150.0, 1400.0),
    "consolidation": (60.0, 700.0),
    "atelectasis": (40.0, 350.0),
    "pneumothorax": (150.0, 700.0),
    "edema": (0.08, 0.35),
    "nodule": (8.0, 28.0),
    "mass": (31.0, 70.0),
    "cardiomegaly": (1.22, 1.5),
}
LABELS = {
    "effusion": "Pleural Effusion",
    "consolidation": "Consolidation",
    "atelectasis": "Atelectasis",
    "pneumothorax": "Pneumothorax",
    "edema": "Edema",
    "nodule": "Nodule",
    "mass": "Mass",
    "cardiomegaly": "Cardiomegaly",
}
LOBAR = ("consolidation", "atelectasis", "nodule", "mass")  # kinds that lie in one lobe
FULLEST = 0.92  # of a lung or lobe, the most that a finding takes
CLEARANCE = 0.8  # radii between a lesion's middle and the border of its lobe, where the lobe has room for them


@dataclass(frozen=True)
class Finding:
    """kind: a key of UNITS; size in its unit; lung: lung_right, lung_left or empty (both, or the heart);
    place: mm in patient coordinates, where the kind has one; seed: of its irregular outline; lobe: right_upper and
    so on for the kinds of LOBAR, empty where the finding keeps to no lobe."""

    kind: str
    size: float
    lung: str = ""
    place: tuple[float, float, float] = (0.0, 0.0, 0.0)
    seed: int = 0
    lobe: str = ""

    @property
    def name(self) -> str:
        """Name of its mask: effusion_left."""
        return f"{self.kind}_{self.lung.removeprefix('lung_')}" if self.lung else self.kind


def draw_finding(body: Body, kind: str, rng: np.random.Generator) -> Finding:
    """A finding of a kind with random size, side, lobe and place in a patient; a lobe is as likely as it is large."""
    low, high = SIZES[kind]
    size = float(np.exp(rng.uniform(np.log(low), np.log(high))))
    lung = str(rng.choice(list(SIDES)))
    lobe = body.lobe_at(_any_point(body.grounds[lung], rng), lung) if kind in LOBAR else ""
    seed = int(rng.integers(2**31))
    grown = body.patient.grown
    scaled = size * {"ml": grown**3, "mm": max(grown, 0.6)}.get(UNITS[kind], 1.0)
    points = body.region_points(lung, lobe)
    if UNITS[kind] == "ml":
        scaled = min(scaled, FULLEST * len(points) * GROUND_VOLUME)
    if kind in ("nodule", "mass"):
        points = points[_clear(body.depths(lung, lobe), CLEARANCE * scaled / 2)]
    place = tuple(float(value) for value in _any_point(points, rng))
    return Finding(kind, round(scaled, 3), "" if kind in ("edema", "cardiomegaly") else lung, place, seed, lobe)


def _any_point(points: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return points[rng.integers(len(points))]


def _clear(depths: np.ndarray, least: float) -> np.ndarray:
    """Where a lesion has room; the deepest hundredth of the lobe where none has. Shapes: [N] -> [N] bool."""
    return depths >= min(least, float(np.quantile(depths, 0.99)))
