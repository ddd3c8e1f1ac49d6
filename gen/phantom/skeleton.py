"""Ribs, clavicles, scapulae, spine, sternum and humeri as hollow swept tubes and thin plates."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gen.phantom.anatomy import Patient
from gen.phantom.geometry import Geometry
from gen.phantom.great_vessels import spine_depth
from gen.phantom.solids import Solid
from gen.phantom.thorax import SWAY, Thorax, bend
from gen.phantom.tubes import ANYWHERE, Tubes, chain, joined, nested_paths, smooth

SPACING, FIRST = 24.5, 124.0  # mm between ribs at the spine; height of the first, reference
DROPS = (32, 60, 84, 100, 110, 116, 118, 112, 100, 86, 58, 36)  # mm from the spine to the front end
ENDS = (148, 150, 148, 145, 142, 138, 132, 126, 119, 110, 84, 58)  # degrees around the cage from the back
RIB_POINTS = 44
CORTEX = 1.85  # g/cm3 of bone in the walls
SPONGY = {"spine": 0.20}  # and between them
MARROW = 0.30  # in the other bones
CLAVICLE = ((16, -50, 88), (42, -60, 92), (76, -50, 101), (112, -16, 112), (152, 6, 114))
STERNUM = ((0, -52, 92), (0, -68, 62), (0, -84, 10), (0, -90, -50), (0, -90, -72))
SCAPULA = ((84, 74, 104), (156, 40, 84), (120, 92, -34))  # superior angle, glenoid, inferior angle
SCAPULAR_SPINE = ((94, 86, 76), (128, 70, 94), (166, 32, 116))
CORACOID = ((146, 32, 96), (138, 14, 100), (132, 2, 92))
ARM = ((170, 24, 88), (178, 22, 66), (196, 18, 10), (214, 12, -70), (240, 6, -230))
RAISED = ((156, 6, 96), (168, -18, 132), (176, -70, 200), (180, -150, 300))  # as for a lateral view
PLATE = 2.2  # mm
STEEPEST = 0.30  # cosine beyond which a plate seen edge-on grows no thicker


@dataclass(frozen=True)
class Bone:
    """Tubes with walls, spongy inside (g/cm3), and plates as triangles. Shapes: wall [N] mm, plates [P, 3, 3] mm."""

    tubes: Tubes
    wall: np.ndarray
    plates: np.ndarray
    spongy: float


def skeleton(thorax: Thorax) -> dict[str, Bone]:
    """Every bone of a patient by name."""
    patient = thorax.patient
    size = float(np.cbrt(np.prod(thorax.scale)))
    parts = {
        "ribs": [(rib(thorax, number, side), 1.0) for number in range(12) for side in (-1, 1)],
        "clavicles": [(_clavicle(patient, side, size), 2.6) for side in (-1, 1)],
        "scapulae": [(tubes, 1.0) for side in (-1, 1) for tubes in _scapula(patient, side, size)],
        "spine": [_vertebra(patient, level) for level in range(-7, 14)],
        "sternum": [(chain(np.array(STERNUM) * thorax.scale, np.array([[4.5, 15]]) * size, _front(5)), 0.8)],
        "humeri": [piece for side in (-1, 1) for piece in _humerus(patient, ARM, side, size)],
        "raised": [piece for side in (-1, 1) for piece in _humerus(patient, _raised(patient, side), side, size)],
    }
    plates = np.stack([_mirrored(patient, SCAPULA, side) for side in (-1, 1)])
    none = np.empty((0, 3, 3))
    return {
        name: _bone(pieces, size, plates if name == "scapulae" else none, SPONGY.get(name, MARROW))
        for name, pieces in parts.items()
    }


def rib(thorax: Thorax, number: int, side: int) -> Tubes:
    """One rib from its head to its cartilage; number from 0, side 1 left."""
    patient, (_, ky, kz) = thorax.patient, thorax.scale
    angle = np.deg2rad(np.linspace(24 if number else 40, ENDS[number], RIB_POINTS))
    share = (angle - angle[0]) / (np.pi * 0.78)
    uneven = patient.rng("rib", number, side).normal(0, 1.2)
    z = (FIRST - SPACING * number + uneven - DROPS[number] * patient.rib_slope * share**0.95) * kz
    section = thorax.section(z)
    gap = 3.8 * thorax.scale[0]
    wide, deep = section.outer + thorax.lung_axis + gap, np.maximum(section.depth, 22 * ky) + gap
    x = wide * np.sign(np.sin(angle)) * np.abs(np.sin(angle)) ** 0.85
    y = section.middle + deep * np.sign(np.cos(angle)) * np.abs(np.cos(angle)) ** 0.85
    head = np.array([[18 * thorax.scale[0], spine_depth(patient, z[:1])[0] + 10 * ky, z[0] + 2 * kz]])
    body = np.stack([x, y, z], 1)
    points = smooth(np.concatenate([head, body[3::8]]), RIB_POINTS)
    follow = SWAY + (1 - SWAY) * np.exp(-points[:, 0] / (45 * thorax.scale[0]))
    points[:, 0] = points[:, 0] * side + follow * bend(patient, points[:, 2])
    outward = points * [1.0, 1.0, 0.0] - [[0.0, float(section.middle.mean()), 0.0]]
    size = float(np.cbrt(np.prod(thorax.scale)))
    tall = np.linspace(5.4, 6.6, RIB_POINTS) if number else np.linspace(6.5, 9, RIB_POINTS)
    return chain(points, np.stack([np.full(RIB_POINTS, 3.3), tall], 1) * size, outward)


def bone_paths(geometry: Geometry, bone: Bone) -> tuple[np.ndarray, np.ndarray]:
    """Mass of mineral (g/cm2) and path length (mm) of one bone. Shapes: -> 2 x [size, size]."""
    whole, inside = nested_paths(geometry, [bone.tubes, bone.tubes.thinner(bone.wall)])
    inside = np.minimum(inside, whole)
    mass = ((whole - inside) * CORTEX + inside * bone.spongy) / 10
    for corners in bone.plates:
        plate = plate_path(geometry, corners)
        mass += plate * CORTEX / 10
        whole = whole + plate
    return mass, whole


def plate_path(geometry: Geometry, corners: np.ndarray) -> np.ndarray:
    """Path through a thin triangular plate. Shapes: corners [3, 3] mm -> [size, size] mm."""
    rows, columns = geometry.project(corners)
    normal = np.cross(corners[1] - corners[0], corners[2] - corners[0])
    slant = abs(geometry.directions(corners.mean(0)) @ normal) / np.linalg.norm(normal)
    r, c = np.arange(geometry.size)[:, None], np.arange(geometry.size)[None]
    turn = np.sign((columns[1] - columns[0]) * (rows[2] - rows[0]) - (rows[1] - rows[0]) * (columns[2] - columns[0]))
    cover = np.ones((geometry.size, geometry.size), np.float32)
    for i, j in ((0, 1), (1, 2), (2, 0)):
        edge = (columns[j] - columns[i]) * (r - rows[i]) - (rows[j] - rows[i]) * (c - columns[i])
        inside = turn * edge / max(np.hypot(rows[j] - rows[i], columns[j] - columns[i]), 1e-6)
        cover *= np.clip(inside / 3 + 0.5, 0, 1).astype(np.float32)
    return cover * np.float32(PLATE / max(slant, STEEPEST))


def _bone(pieces: list[tuple[Tubes, float | np.ndarray]], size: float, plates: np.ndarray, spongy: float) -> Bone:
    tubes = joined([piece for piece, _ in pieces])
    wall = np.concatenate([np.broadcast_to(width, len(piece.start)) * size for piece, width in pieces])
    return Bone(tubes, wall, plates, spongy)


def _mirrored(patient: Patient, points: tuple, side: int) -> np.ndarray:
    """Reference points of the left side on a side of the patient, with the shoulders' height."""
    placed = np.array(points, dtype=float) * patient.scale * [side, 1, 1]
    placed[:, 2] += patient.shoulders * patient.grown * np.clip(np.abs(placed[:, 0]) / 150, 0, 1)
    return placed


def _front(count: int) -> np.ndarray:
    return np.broadcast_to([0.0, 1.0, 0.0], (count, 3))


def _clavicle(patient: Patient, side: int, size: float) -> Tubes:
    course = smooth(_mirrored(patient, CLAVICLE, side), 24)
    radius = np.interp(np.linspace(0, 1, 24), (0, 0.12, 0.5, 0.85, 1), (9.0, 6.6, 5.6, 6.4, 7.2)) * size
    return chain(course, radius)


def _scapula(patient: Patient, side: int, size: float) -> list[Tubes]:
    top, glenoid, tip = _mirrored(patient, SCAPULA, side)
    spine = smooth(_mirrored(patient, SCAPULAR_SPINE, side), 10)
    coracoid = smooth(_mirrored(patient, CORACOID, side), 8)
    ridge = np.stack([np.linspace(2.5, 7, 10), np.linspace(5, 4, 10)], 1)
    return [
        chain(
            smooth([glenoid, (glenoid * 0.48 + tip * 0.52) + [-6.0 * side, 2, 0], tip], 12),
            np.linspace(5.5, 3.2, 12) * size,
        ),
        chain(smooth([top, (top + tip) / 2 + [-9.0 * side, 0, 0], tip], 10), 2.0 * size),
        chain(smooth([top, (top + glenoid) / 2 + [0, 0, -5.0], glenoid], 8), 1.6 * size),
        chain(spine, ridge * size),
        chain(coracoid, 5.5 * size),
    ]


def arms(patient: Patient, raised: bool = False) -> list[Solid]:
    """The flesh of both upper arms where they hang beside the trunk, or are raised with the shoulders."""
    wide = ((32 if raised else 40) + 6 * patient.muscle) * patient.stretch[0] + 0.5 * patient.fat
    courses = [_mirrored(patient, _raised(patient, side) if raised else ARM, side) for side in (-1, 1)]
    ends = [course[[0 if raised else 1, -1]] for course in courses]
    return [Solid.pointing((a + b) / 2, b - a, 0.57 * float(np.linalg.norm(b - a)), wide) for a, b in ends]


def _raised(patient: Patient, side: int) -> tuple:
    """Nobody holds both arms alike: each turns forwards about its shoulder by some way of its own."""
    forwards = patient.rng("arms", side).normal(0, 35)
    return tuple((x, y - forwards * (z - 96) / 204, z) for x, y, z in RAISED)


def _humerus(patient: Patient, arm: tuple, side: int, size: float) -> list[tuple[Tubes, float | np.ndarray]]:
    course = _mirrored(patient, arm, side)
    shaft = chain(smooth(course[1:], 16), np.linspace(15, 11.5, 16) * size)
    steps = np.linspace(-0.96, 0.96, 9)
    head = course[0] + np.outer(steps * 23 * size, [0, 0, 1.0])
    return [(shaft, np.linspace(0.8, 3.2, 15)), (chain(head, 23 * size * np.sqrt(1 - steps**2)), 0.9)]


def _vertebra(patient: Patient, level: int) -> tuple[Tubes, np.ndarray]:
    """Body with endplates, pedicles, lamina, transverse and spinous processes; level 0 is the first thoracic."""
    kx, ky, kz = patient.scale
    middle = (FIRST - SPACING * level - 8) if level >= 0 else FIRST - 8 - 17 * level
    tall = SPACING * (0.76 if level >= 0 else 0.55) * (1 - 0.0035 * patient.kyphosis)
    beyond = np.array([-0.5, 0, 0.5]) * tall * kz + middle * kz
    (low, x, high), (front, y, back) = bend(patient, beyond).astype(float), spine_depth(patient, beyond).astype(float)
    pieces = np.array(_vertebra_pieces(13.5 + 0.62 * max(level, 0), tall))
    points = (pieces[:, :6].reshape(-1, 2, 3) + np.array([0, y / ky, middle])) * patient.scale + np.array([x, 0, 0])
    lean = np.array([high - low, back - front]) / (tall * kz)
    points[:, :, :2] += pieces[:, None, 9:] * (points[:, :, 2:] - middle * kz) * lean
    radii = pieces[:, 6:8] * np.where(pieces[:, 9:], [kx, ky], kx)
    across = np.where(pieces[:, 9:], [1.0, 0.0, 0.0], ANYWHERE)
    return Tubes(points[:, 0], points[:, 1], radii, across), pieces[:, 8]


def _vertebra_pieces(wide: float, tall: float) -> list[tuple[float, ...]]:
    """Start, end, radii, wall and whether it leans with the spine, from the middle of the vertebra; reference mm."""
    pieces = [(0, 0, -tall / 2, 0, 0, tall / 2, wide, wide * 0.92, 0.7, 1)]
    for end in (-tall / 2, tall / 2):
        pieces.append((0, 0, end - 0.8, 0, 0, end + 0.8, wide + 0.5, wide * 0.93, 0.8, 1))
    for side in (-1, 1):
        pieces.append((side * 0.68 * wide, 19, 0, side * 0.68 * wide, 19, 8, 3.4, 6, 0.8, 1))
        pieces.append((side * 10, 26, 0, side * (wide + 11), 33, 3, 3.4, 3.4, 0.7, 0))
    return [*pieces, (0, 44, -24, 0, 34, -4, 3.2, 6, 0.6, 1)]
