"""Pulmonary arteries and veins: trees that share the lung out among their branches."""

from __future__ import annotations

import numpy as np

from gen.phantom.anatomy import Patient
from gen.phantom.tubes import Tubes, joined

HILA = {"lung_right": (-47.0, 12.0, -2.0), "lung_left": (48.0, 20.0, 4.0)}  # reference mm
ARTERIES = {  # where a lobe's artery leaves its lung's
    "right_upper": (-42.0, 8.0, 10.0),
    "right_middle": (-50.0, 8.0, -20.0),
    "right_lower": (-51.0, 18.0, -26.0),
    "left_upper": (42.0, 8.0, 22.0),
    "left_lower": (50.0, 28.0, -18.0),
}
VEINS = {  # and where its vein reaches the left atrium
    "right_upper": (-27.0, 4.0, -22.0),
    "right_middle": (-27.0, 2.0, -28.0),
    "right_lower": (-24.0, 18.0, -44.0),
    "left_upper": (32.0, 2.0, -20.0),
    "left_lower": (28.0, 20.0, -40.0),
}
LEAVES = {"artery": 256, "vein": 128}
TRUNK = {"artery": 4.3, "vein": 3.7}  # radius, mm
MURRAY = 3.0  # r^3 of a parent is the sum of its branches' (Murray 1926)


def lung_vessels(patient: Patient, grounds: dict[str, np.ndarray]) -> Tubes:
    """The vessels of both lungs, lobe by lobe. Shapes: grounds[lobe] [M, 3] points that fill a lobe, mm."""
    trees = []
    size = float(np.cbrt(np.prod(patient.scale))) * patient.vessels
    for lobe, points in grounds.items():
        for kind, roots in (("artery", ARTERIES), ("vein", VEINS)):
            rng = patient.rng("vessels", lobe, kind)
            count = LEAVES[kind] // 2 if lobe == "right_middle" else LEAVES[kind]
            leaves = points[rng.integers(0, len(points), count)] + rng.normal(0, 3, (count, 3))
            root = np.array(roots[lobe]) * patient.scale
            thick = TRUNK[kind] * size * (count / LEAVES[kind]) ** (1 / MURRAY)
            trees.append(tree(root, leaves, thick, rng))
    return joined(trees)


def tree(root: np.ndarray, leaves: np.ndarray, radius: float, rng: np.random.Generator) -> Tubes:
    """Halve the leaves again and again; every half gets a branch towards its middle, thinner by Murray's law.

    Shapes: root [3], leaves [2^n, 3], mm.
    """
    groups, nodes, parts = leaves[None], root[None], []
    while groups.shape[1] > 1:
        groups = _halved(groups)
        parents = np.repeat(nodes, 2, axis=0)
        middle = groups.mean(1)
        reach = 0.28 if len(groups) <= 8 else 0.45 if groups.shape[1] > 2 else 0.9
        nodes = parents + reach * (middle - parents)
        thick = radius * (groups.shape[1] / len(leaves)) ** (1 / MURRAY) * rng.lognormal(0, 0.14, len(nodes))
        parts.append(_bent(parents, nodes, thick, rng))
    return joined(parts)


def _halved(groups: np.ndarray) -> np.ndarray:
    """Each set of points cut in two across its longest side. Shapes: [S, 2n, 3] -> [2S, n, 3]."""
    longest = np.ptp(groups, axis=1).argmax(1)
    order = np.take_along_axis(groups, longest[:, None, None], 2)[..., 0].argsort(1, kind="stable")
    sets, count, _ = groups.shape
    return np.take_along_axis(groups, order[..., None], 1).reshape(sets * 2, count // 2, 3)


def _bent(start: np.ndarray, end: np.ndarray, radius: np.ndarray, rng: np.random.Generator) -> Tubes:
    """Branches with a bend in their middle, tapering a little."""
    length = np.linalg.norm(end - start, axis=1, keepdims=True)
    middle = (start + end) / 2 + rng.normal(0, 0.07, start.shape) * length
    knots = (start, middle, end)
    across = np.broadcast_to([0.31, 0.52, 0.79], start.shape)
    pieces = [
        Tubes(a, b, np.repeat((radius * factor)[:, None], 2, 1), across)
        for a, b, factor in zip(knots[:-1], knots[1:], (1.04, 0.94), strict=True)
    ]
    return joined(pieces)
