"""Lobes of the lungs, cut by the fissures: the left in two, the right in three."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gen.phantom.anatomy import Patient
from gen.phantom.geometry import Slab

LOBES = {"lung_right": ("right_upper", "right_middle", "right_lower"), "lung_left": ("left_upper", "left_lower")}
SIDES = {"lung_right": -1, "lung_left": 1}
BACK = {"lung_right": 44.0, "lung_left": 52.0}  # reference height where the oblique fissure leaves the back wall, mm
BEHIND = 84.0  # y of the back wall, mm
FALL = {"lung_right": 1.08, "lung_left": 1.18}  # mm it comes down for each mm that it comes forward
MINOR = 2.0  # height of the horizontal fissure at the right hilum, mm


def lung_of(lobe: str) -> str:
    """The lung that a lobe belongs to: right_upper, lung_right; a lung is its own."""
    return lobe if lobe in LOBES else f"lung_{lobe.split('_')[0]}"


@dataclass(frozen=True)
class Fissures:
    """Where the fissures of one patient run. heights, falls, tilts: of the oblique one by lung; minor: height and
    slopes forwards and outwards of the horizontal one; waves: amplitude (mm) and phase of their unevenness."""

    scale: tuple[float, float, float]
    heights: dict[str, float]
    falls: dict[str, float]
    tilts: dict[str, float]
    minor: tuple[float, float, float]
    waves: tuple[float, float]

    @staticmethod
    def of(patient: Patient) -> Fissures:
        """Drawn from the patient's seed."""
        rng = patient.rng("fissures")
        heights = {lung: height + float(rng.normal(0, 6)) for lung, height in BACK.items()}
        falls = {lung: fall * float(rng.normal(1, 0.05)) for lung, fall in FALL.items()}
        tilts = {lung: float(rng.normal(0.12, 0.06)) for lung in BACK}
        minor = (MINOR + float(rng.normal(0, 6)), float(rng.normal(0.08, 0.05)), float(rng.normal(0.0, 0.08)))
        return Fissures(patient.stretch, heights, falls, tilts, minor, (2.5, float(rng.uniform(0, 6))))

    def oblique(self, lung: str, slab: Slab) -> np.ndarray:
        """Field of the lower lobe: negative below and behind the oblique fissure, about mm. Shapes: -> [H, W], [N]."""
        kx, ky, kz = self.scale
        aside, back = np.abs(slab.x) / kx - 70, BEHIND - slab.y / ky
        bulge = self.waves[0] * np.sin(aside / 24 + back / 31 + self.waves[1])
        height = self.heights[lung] - self.falls[lung] * back + self.tilts[lung] * aside + bulge
        steep = np.hypot(1, self.falls[lung] * kz / ky)
        return ((slab.z - kz * height) / steep).astype(np.float32)

    def horizontal(self, slab: Slab) -> np.ndarray:
        """Field of what lies below the right lung's horizontal fissure, mm."""
        kx, ky, kz = self.scale
        height, forwards, outwards = self.minor
        bulge = self.waves[0] * np.sin(slab.x / (22 * kx) + self.waves[1])
        level = height + forwards * slab.y / ky + outwards * (np.abs(slab.x) / kx - 70) + bulge
        return (slab.z - kz * level).astype(np.float32)

    def field(self, lobe: str, slab: Slab) -> np.ndarray:
        """Field of a lobe within its lung, negative inside, about mm. Shapes: -> [H, W], or [N] at points."""
        oblique = self.oblique(lung_of(lobe), slab)
        if lobe.endswith("lower"):
            return oblique
        if lobe == "left_upper":
            return -oblique
        below = self.horizontal(slab)
        return np.maximum(-oblique, below if lobe == "right_middle" else -below)
