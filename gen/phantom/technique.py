"""How a study is taken and shown: positioning, exposure and display, drawn from its seed and view."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from gen.phantom.anatomy import HALF_WIDTH, HEIGHT, Patient
from gen.phantom.display import Display
from gen.phantom.geometry import SOURCE_DISTANCES, VIEW_ANGLES, Geometry
from gen.phantom.physics import Exposure
from gen.seeds import mix


@dataclass(frozen=True)
class Technique:
    """Everything about an image that is not in the patient. shutter: pixels covered at top, bottom, left, right;
    heel: relative fall of the beam's strength across the field; marker: its place, shares of the field."""

    view: str
    geometry: Geometry
    exposure: Exposure
    display: Display
    shutter: tuple[int, int, int, int]
    heel: tuple[float, float]
    marker: tuple[float, float] | None
    seed: int


def technique(patient: Patient, seed: int, view: str, size: int, angle: float | None = None) -> Technique:
    """Draw positioning, exposure and display for one view of a study; size in pixels, angle in degrees."""
    noise_seed = mix("phantom", seed, "shot", view, "" if angle is None else repr(float(angle)))
    rng = np.random.default_rng(noise_seed)
    geometry = _geometry(patient, view, size, rng)
    if angle is not None:
        geometry = replace(geometry, angle=float(angle))
    marker = (float(rng.uniform(0.90, 0.95)), float(rng.uniform(0.06, 0.22))) if rng.random() < 0.7 else None
    heel = tuple(float(v) for v in rng.normal(0, (0.03, 0.05)))
    return Technique(
        view, geometry, _exposure(view, rng), _display(view, rng), _shutter(size, rng), heel, marker, noise_seed
    )


def _geometry(patient: Patient, view: str, size: int, rng: np.random.Generator) -> Geometry:
    kx, ky, kz = patient.stretch
    portable = view.startswith("AP")
    source = SOURCE_DISTANCES[view] * rng.uniform(0.97, 1.03)
    width = 2 * HALF_WIDTH * (1.15 * ky if view == "LATERAL" else kx)
    field = max(width * rng.uniform(1.24, 1.46), HEIGHT * kz * rng.uniform(1.18, 1.34))
    turned = float(rng.normal(0, 3.0 if portable else 1.6))
    half = HALF_WIDTH * kx if view == "LATERAL" else 105 * ky
    spare = field - 1.26 * HEIGHT * kz  # a field too long for the lungs shows the belly rather than the head
    low = (-24 if view == "LATERAL" else -10) * kz - (0.1 if view == "LATERAL" else 0.35) * max(spare, 0)
    aim = rng.normal(0, (7, 0, 9)) * patient.grown + [0, 0, low]
    return Geometry(VIEW_ANGLES[view] + turned, source, half + 45, field, size, tuple(float(value) for value in aim))


def _exposure(view: str, rng: np.random.Generator) -> Exposure:
    if view.startswith("AP"):
        kvp, scatter, photons = rng.uniform(80, 100), rng.uniform(0.5, 1.0), rng.uniform(2e5, 5e5)
    else:
        kvp, scatter, photons = rng.uniform(105, 125), rng.uniform(0.35, 0.8), rng.uniform(3e5, 9e5)
    if view == "LATERAL":
        scatter *= 0.6  # laterals are taken with a denser grid
    return Exposure(kvp=float(kvp), scatter=float(scatter), photons=float(photons), blur=float(rng.uniform(0.2, 0.7)))


def _display(view: str, rng: np.random.Generator) -> Display:
    low, high = ((0.06, 0.16), (0.93, 0.99)) if view == "LATERAL" else ((0.04, 0.12), (0.90, 0.99))
    return Display(
        latitude=float(rng.uniform(0.18, 0.42)),
        detail=float(rng.uniform(0.2, 0.7)),
        low=float(rng.uniform(*low)),
        high=float(rng.uniform(*high)),
        margin=float(rng.uniform(0.04, 0.18) + (0.1 if view.startswith("AP") else 0)),
        gamma=float(np.exp(rng.normal(-0.34, 0.22))),
        toe=float(rng.uniform(0.16, 0.34)),
        white=float(rng.uniform(0.80, 0.95)),
    )


def _shutter(size: int, rng: np.random.Generator) -> tuple[int, int, int, int]:
    covered = rng.uniform(0.005, 0.05, 4) * (rng.random(4) < 0.12)
    top, bottom, left, right = (round(float(size * share)) for share in covered)
    return top, bottom, left, right
