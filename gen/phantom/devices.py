"""Tubes, lines, a pacemaker and what was left behind, as metal and plastic in the patient."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from gen.phantom.body import TRACHEA, Body
from gen.phantom.geometry import Geometry
from gen.phantom.tubes import Tubes, chain, joined, paths, smooth

STEEL = 7.87  # g/cm3
# plastics with barium sulphate weigh in as the iron that weakens a 60 keV beam as much
LOADED = 0.55
LINE = ((-52, -30, 150), (-34, -22, 112), (-26, -20, 80), (-26, -20, 40), (-24, -18, 8))
LEAD = ((92, -72, 58), (70, -60, 86), (40, -34, 92), (6, -30, 84), (-22, -22, 68), (-25, -20, 20), (-20, -26, -40))
VENTRICLE = ((-6, -40, -84), (24, -52, -100), (48, -52, -100))
CAN = (100.0, -86.0, 42.0)  # the pacemaker's box, below the left collar bone
NEEDLE = 38.0  # mm


def device_mass(body: Body, geometry: Geometry, kind: str) -> tuple[np.ndarray, np.ndarray]:
    """Mass of a device (g/cm2 of iron) and its path (mm). Shapes: -> 2 x [size, size]."""
    tubes, density = DEVICES[kind](body)
    path = paths(geometry, tubes)
    return path * np.float32(density / 10), path


def _endotracheal(body: Body) -> tuple[Tubes, float]:
    """A tube with its tip some 4 cm above the carina; the walls are drawn as two threads and the marker line."""
    course = smooth(((0, -8, 235), *TRACHEA[1:4]), 26)
    course[:, 2] = np.interp(course[:, 2], (80, 235), (80 + body.patient.rng("tip").uniform(-18, 14), 235))
    course = course * body.thorax.scale
    threads = [chain(course + np.array([shift * body.patient.grown, 0, 0]), 0.55) for shift in (-4.2, 4.2, 1.5)]
    return joined(threads), LOADED


def _line(body: Body) -> tuple[Tubes, float]:
    """A catheter from the right neck to the superior vena cava."""
    return chain(_jittered(body, "line", LINE, 2.5, 40), 1.0), LOADED


def _wires(body: Body) -> tuple[Tubes, float]:
    """Closed loops about the sternum after heart surgery."""
    loops = []
    rng = body.patient.rng("wires")
    for height in (70, 46, 22, -4, -30, -52):
        turn = np.linspace(0, 2 * np.pi, 17)
        front = np.interp(height, (-72, 10, 62, 92), (-90, -84, -68, -52))
        loop = np.stack([8 * np.cos(turn), front + 7 * np.sin(turn), height + rng.normal(0, 1.5) + 3 * np.cos(turn)], 1)
        loops.append(chain(loop * body.thorax.scale, 0.45))
    return joined(loops), STEEL


def _pacemaker(body: Body) -> tuple[Tubes, float]:
    """A box of 46 x 40 x 7 mm below the left collar bone and a lead to the apex of the right ventricle."""
    lead = chain(_jittered(body, "lead", (*LEAD, *VENTRICLE), 2, 60), 0.55)
    place = np.array(CAN) * body.thorax.scale
    steps = np.linspace(-1, 1, 24)
    half = 20 * (1 - 0.22 * np.abs(steps) ** 5)
    bars = [
        chain(place + np.array([[-w, 0, h], [w, 0, h]]), np.array([[3.2, 0.9]]), np.array([[0, 1.0, 0]] * 2))
        for w, h in zip(half, 19 * steps, strict=True)
    ]
    return joined([lead, *bars]), STEEL * 0.5


def _sponge(body: Body) -> tuple[Tubes, float]:
    """The crumpled marker ribbon of a surgical sponge."""
    rng = body.patient.rng("sponge")
    centre = _inside(body, rng)
    course = smooth(np.cumsum(rng.normal(0, 9, (11, 3)), 0), 70)
    return chain(centre + course - course.mean(0), np.array([[0.7, 1.6]])), LOADED * 2


def _needle(body: Body) -> tuple[Tubes, float]:
    """A curved surgical needle."""
    rng = body.patient.rng("needle")
    turn = np.linspace(0, np.pi * 0.9, 20)
    frame = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    frame[:, 0] = frame[:, 0] * [1, 0.3, 1]  # lies rather flat against the wall
    arc = NEEDLE / np.pi * (np.outer(np.cos(turn), frame[0]) + np.outer(np.sin(turn), frame[1]))
    return chain(_inside(body, rng) + arc, 0.6), STEEL


def _inside(body: Body, rng: np.random.Generator) -> np.ndarray:
    points = body.grounds[str(rng.choice(["lung_right", "lung_left"]))]
    return points[rng.integers(len(points))]


def _jittered(body: Body, name: str, course: tuple, spread: float, count: int) -> np.ndarray:
    rng = body.patient.rng(name)
    return smooth((np.array(course) + rng.normal(0, spread, (len(course), 3))) * body.thorax.scale, count)


DEVICES: dict[str, Callable[[Body], tuple[Tubes, float]]] = {
    "endotracheal_tube": _endotracheal,
    "central_line": _line,
    "sternal_wires": _wires,
    "pacemaker": _pacemaker,
    "sponge": _sponge,
    "needle": _needle,
}
