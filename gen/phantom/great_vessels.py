"""Heart chambers, aorta, pulmonary arteries, veins and the tissue between the lungs, as ellipsoids."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gen.phantom.anatomy import Patient
from gen.phantom.solids import Solid
from gen.phantom.tubes import smooth

HEART_FOOT = np.array([10.0, -20.0, -112.0])  # where the heart stands on the diaphragm; it grows away from here
SPINE_Z = (-260, -180, -120, -60, 0, 60, 100, 130, 200)  # reference mm
SPINE_Y = (34, 40, 52, 64, 70, 66, 54, 40, 18)  # middle of the vertebral bodies

RIGHT_PULMONARY = ((14, -14, 12), (-18, -6, 12), (-38, 6, 8), (-47, 14, -10), (-52, 18, -30))
LEFT_PULMONARY = ((22, -34, -14), (30, -20, 12), (40, 6, 21), (47, 22, 16), (50, 28, -10), (50, 28, -22))
CAVA = ((-35, -22, 104), (-25, -20, 78), (-26, -20, 40), (-24, -18, 0), (-22, -14, -25))
BRACHIOCEPHALIC = ((-22, -26, 72), (0, -32, 80), (24, -28, 92), (34, -20, 110))
NECK = (((-26, -2, 180), (-24, -8, 130), (-16, -12, 90), (-4, -12, 70)), ((26, -2, 180), (25, -2, 130), (20, 0, 70)))
SUBCLAVIAN = (((-14, -8, 88), (-34, 0, 112), (-62, 6, 112)), ((20, 6, 80), (34, 8, 110), (62, 8, 112)))


def spine_depth(patient: Patient, z: np.ndarray) -> np.ndarray:
    """y of the middle of the vertebral bodies at heights, mm. Shapes: [...] -> [...]."""
    _, ky, kz = patient.scale
    curve = np.interp(z / kz, SPINE_Z, SPINE_Y) * ky
    return curve + 0.35 * patient.kyphosis * np.exp(-((z / kz - 30) ** 2) / 5000)


def heart_parts(patient: Patient) -> list[Solid]:
    """Left and right ventricle, both atria, appendage and outflow tract."""
    r = patient.roundness
    apex = np.array([0.80, -0.42, -0.30 - 0.25 * (1 - r)])
    chambers = [
        Solid.pointing((36, -16, -80), apex, 54 - 4 * r, 37 + 4 * r),
        Solid.along_axes((16, -46, -86), (48, 32, 34)),
        Solid.along_axes((-14, -22, -72), (25, 32, 38)),
        Solid.along_axes((6, 14, -38), (38, 27, 32)),
        Solid.along_axes((34, -16, -36), (15, 20, 24)),
        Solid.pointing((20, -40, -26), (0.25, 0.2, 1.0), 36, 20),
    ]
    return [_grown(patient, part) for part in chambers]


def _grown(patient: Patient, part: Solid) -> Solid:
    """Widen about the foot, mostly to the left and the front, and stretch to the patient."""
    sideways, upwards = patient.heart, 1 + 0.5 * (patient.heart - 1)
    factors = np.array([sideways, 1 + 0.8 * (patient.heart - 1), upwards])
    centre = (HEART_FOOT + (part.centre - HEART_FOOT) * factors) * patient.scale
    centre[2] += 0.35 * patient.grown * sum(patient.domes)
    return _stretched(part, centre, factors * patient.scale)


def _stretched(part: Solid, centre: np.ndarray, factors: np.ndarray) -> Solid:
    matrix = part.matrix / factors
    return Solid(centre, matrix, part.size * float(factors.min()), part.reach * float(factors.max()))


def mediastinum_parts(patient: Patient) -> dict[str, list[Solid]]:
    """The aorta by itself, and the other vessels with the tissue about them."""
    vessels = [
        *_swept(patient, RIGHT_PULMONARY, (12, 11, 9, 6.5, 4), 9),
        *_swept(patient, LEFT_PULMONARY, (14, 13, 9.5, 7.5, 5.5, 3.5), 10),
        *_swept(patient, CAVA, (8, 10, 10, 10, 12), 7),
        *_swept(patient, BRACHIOCEPHALIC, (8, 8, 8, 8), 7),
        *[ball for course in NECK for ball in _swept(patient, course, [9] * len(course), 6)],
        *[ball for course in SUBCLAVIAN for ball in _swept(patient, course, (7, 7, 6), 5)],
    ]
    return {"aorta": aorta(patient), "vessels": vessels + _tissue(patient)}


def aorta(patient: Patient) -> list[Solid]:
    """Ascending aorta, arch (its knob on the left) and descending aorta; it unfolds with age."""
    out = patient.unfolding
    knob = 20 + 9 * out
    course = [(4, -24, -30), (-12 - 5 * out, -30, 8), (-9, -24, 40), (6, -4, 58 + 5 * out), (knob, 20, 56 + 6 * out)]
    course += [(knob + 4, 40, 34), (23 + 9 * out, 48, -10), (18 + 6 * out, 50, -60), (9, 42, -120), (4, 34, -180)]
    wide = 1 + 0.22 * out
    return _swept(patient, course, [15 * wide, 15 * wide, 14, 14, 14.5 * wide, 12.5, 12, 11.5, 11, 10], 21)


def _swept(patient: Patient, course: Sequence, radii: Sequence[float], count: int) -> list[Solid]:
    """Overlapping ellipsoids along a curve."""
    points = smooth(course, count) * patient.scale
    wide = np.interp(np.linspace(0, len(radii) - 1, count), range(len(radii)), radii) * np.sqrt(
        np.prod(patient.scale[:2])
    )
    along = np.gradient(points, axis=0)
    step = np.linalg.norm(along, axis=1)
    return [Solid.pointing(p, d, max(s * 1.1, w), w) for p, d, s, w in zip(points, along, step, wide, strict=True)]


def _tissue(patient: Patient) -> list[Solid]:
    """Fat, nodes, thymus and oesophagus fill the space between the vessels; the thymus is large in small children."""
    thymus = float(np.interp(patient.age, (0, 2, 6, 12), (1.5, 1.3, 0.7, 0.0)))
    stout = 1 + 0.004 * (patient.fat - 15)
    parts = [
        ((0, 6, 84), (29 * stout, 34, 66)),
        ((2, 14, 18), (32 * stout, 44, 46)),
        ((-6, -30, 30), (22 * stout, 28, 52)),
        ((18, 12, 42), (19, 26, 34)),
        ((4, 30, -40), (30, 30, 96)),
        ((-43, 11, 2), (9, 13, 17)),
        ((47, 17, 9), (8, 12, 15)),
        ((-20, -8, -104), (13, 14, 24)),
        ((24, -34, -120), (60, 40, 26)),
    ]
    if thymus:
        parts.append(((2, -45, 45), (38 * thymus, 18, 40)))
    return [Solid.along_axes(np.array(c) * patient.scale, np.array(r) * patient.scale) for c, r in parts]
