"""A patient: the measures that make one thorax differ from another, drawn from one seed by sex and age.

Everything else is laid out in the coordinates of a reference man (half-width of his rib cage 142 mm, half-depth 92 mm,
280 mm from the apices of the lungs to the costophrenic angles) and stretched by `Patient.stretch`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from gen.errors import UserError
from gen.seeds import mix

HALF_WIDTH, HALF_DEPTH, HEIGHT = 142.0, 92.0, 280.0  # mm, the reference man's
APEX = 130.0  # z of the lungs' apices in reference coordinates, mm
GROWTH_AGES = (0, 1, 2, 5, 10, 14, 18)  # years
GROWTH = (0.37, 0.46, 0.51, 0.61, 0.76, 0.91, 1.0)  # of the adult size
OLDEST = 100


@dataclass(frozen=True)
class Patient:
    """Measures of one thorax.

    stretch: factors of the reference man along x, y, z; fat: thickness at the side in mm; muscle: factor; heart:
    factor of its width; roundness: of the heart; unfolding: 0..1 of the aorta; kyphosis: mm; density: of the bones;
    rib_slope: factor; domes: mm that the right and left hemidiaphragm stand higher; lung: g/cm3; breast: mm.
    """

    seed: int
    sex: str
    age: float
    stretch: tuple[float, float, float]
    fat: float
    muscle: float
    heart: float
    roundness: float
    unfolding: float
    kyphosis: float
    scoliosis: float
    density: float
    rib_slope: float
    domes: tuple[float, float]
    lung: float
    breast: float
    shoulders: float
    vessels: float
    build: int = 0  # counts changes of shape over time, so that fixed random parts stay the same

    @property
    def scale(self) -> np.ndarray:
        """Stretch as an array. Shapes: -> [3]."""
        return np.array(self.stretch)

    @property
    def grown(self) -> float:
        """Size against an adult's, 0..1."""
        return growth(self.age)

    def rng(self, *names: int | str) -> np.random.Generator:
        """A stream of the patient's own for a named part."""
        return np.random.default_rng(mix("phantom", self.seed, *names))

    def with_heart(self, factor: float) -> Patient:
        """The same patient with a wider heart."""
        return replace(self, heart=self.heart * factor)


def growth(age: float) -> float:
    """Size of the thorax against an adult's at an age in years."""
    return float(np.interp(age, GROWTH_AGES, GROWTH))


def make_patient(seed: int, sex: str | None = None, age: float | None = None) -> Patient:
    """Draw a patient from a seed; sex (M, F) and age (years) may be given.

    Errors: UserError for another sex or an age outside 0..100.
    """
    rng = np.random.default_rng(mix("phantom", seed, "patient"))
    drawn_sex, drawn_age = str(rng.choice(["M", "F"])), _draw_age(rng)
    sex, age = sex or drawn_sex, drawn_age if age is None else float(age)
    if sex not in ("M", "F"):
        raise UserError(f"sex {sex!r}: M or F")
    if not 0 <= age <= OLDEST:
        raise UserError(f"age {age:g}: years, from 0 to {OLDEST}")
    return Patient(seed=seed, sex=sex, age=age, **_frame(rng, sex, age), **_tissue(rng, sex, age), **_chest(rng, age))


def _draw_age(rng: np.random.Generator) -> float:
    """Mostly adults, one in twelve a child."""
    child, adult = rng.uniform(0.5, 17), rng.normal(54, 17)
    return float(round(child if rng.random() < 1 / 12 else np.clip(adult, 18, 95), 1))


def _frame(rng: np.random.Generator, sex: str, age: float) -> dict:
    size = growth(age)
    woman = sex == "F" and age > 12
    width = size * (0.90 if woman else 1.0) * rng.normal(1, 0.05)
    round_chest = float(np.interp(age, (0, 8, 18, 60, 90), (1.3, 1.12, 1.0, 1.04, 1.15)))
    depth = size * (0.90 if woman else 1.0) * round_chest * rng.normal(1, 0.07)
    height = size * (0.92 if woman else 1.0) * np.interp(age, (0, 10, 18), (0.92, 0.97, 1.0)) * rng.normal(0.96, 0.07)
    return {"stretch": (float(width), float(depth), float(np.clip(height, 0.75 * size, 1.12 * size)))}


def _tissue(rng: np.random.Generator, sex: str, age: float) -> dict:
    size, grown_woman = growth(age), sex == "F" and age > 13
    heaviness = float(np.clip(rng.gamma(4.0, 0.25), 0.3, 2.6))
    return {
        "fat": (6 + 13 * heaviness) * (0.5 + 0.5 * size) * (1.2 if grown_woman else 1.0),
        "muscle": float(rng.uniform(0.8, 1.2)) * (0.85 if sex == "F" else 1.05) * (1.1 - 0.003 * max(age - 40, 0)),
        "density": float(rng.normal(1.0, 0.08)) * float(np.interp(age, (0, 15, 40, 90), (0.7, 0.95, 1.0, 0.72))),
        "breast": _breast(rng, age, heaviness) if grown_woman else 0.0,
    }


def _breast(rng: np.random.Generator, age: float, heaviness: float) -> float:
    full = np.clip(12 + 20 * heaviness * rng.uniform(0.5, 1.3), 10, 60)
    return float(full * np.interp(age, (13, 18), (0.4, 1.0)))


def _chest(rng: np.random.Generator, age: float) -> dict:
    return {
        "heart": float(rng.normal(1.0, 0.055))
        * float(np.interp(age, (0, 3, 15, 50, 90), (1.22, 1.14, 1.0, 1.02, 1.1))),
        "roundness": float(rng.uniform(0, 1)),
        "unfolding": float(np.clip(rng.normal((age - 45) / 50, 0.15), 0, 1)),
        "kyphosis": float(np.clip(rng.normal(0.25 * max(age - 45, 0), 4), -5, 25)),
        "scoliosis": float(rng.normal(0, 2.0) + rng.normal(0, 8.0) * (rng.random() < 0.2)),
        "rib_slope": float(rng.normal(np.interp(age, (0, 10, 40, 90), (0.55, 0.9, 1.0, 1.1)), 0.1)),
        "domes": (float(rng.normal(0, 6)), float(rng.normal(0, 6))),
        "lung": float(np.clip(rng.normal(0.18, 0.025), 0.12, 0.26)),
        "shoulders": float(rng.normal(0, 8)),
        "vessels": float(rng.normal(1.0, 0.08)),
    }
