"""Prompt collapse: other prompts, the same picture. Seen where a model stops listening, and in nobody's mean score."""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd

from gen.judges.neighbours import copy_threshold, nearest, pixel_details

from . import labels
from .resampling import as_figure, cluster_counts, estimate
from .section import Figure

SIDE = 64  # pixels
NAME = "prompt collapse"


def collapse_figure(
    made: tuple[pd.DataFrame, np.ndarray],
    reference: tuple[pd.DataFrame, np.ndarray],
    train: tuple[pd.DataFrame, np.ndarray],
    draws: int,
    seed: int,
) -> tuple[Figure, list[tuple[int, int]]]:
    """Share of synthetic images with a near-identical one of another prompt, and the pairs, nearest first.

    Near-identical: nearer than but one in a thousand real radiographs is to another patient's. The floor is that share
    among the real reference, the control among the same images with every tenth replaced by another prompt's.
    Each part is rows and pixels [N, 64, 64] uint8.
    """
    vectors, held_out, seen = (_vectors(part[1]) for part in (made, reference, train))
    patients = [part[0]["patient_id"].to_numpy() for part in (train, reference)]
    limit = copy_threshold(seen, held_out, *patients, metric="cosine").threshold
    prompts = made[0]["prompt"].to_numpy()
    distances, partners = twins(vectors, prompts)
    same = distances < limit
    weights = cluster_counts(prompts, draws, seed)
    found = estimate(partial(labels.mean, same.astype(float)), weights)
    floor = float((twins(held_out, patients[1])[0] < limit).mean())
    control = float((twins(collapsed(vectors, seed), prompts)[0] < limit).mean())
    pairs = [(int(row), int(partners[row])) for row in np.argsort(distances) if same[row] and row < partners[row]]
    return as_figure(NAME, found, len(vectors), "share", "low", floor, control), pairs


def twins(vectors: np.ndarray, groups: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distance to the nearest image of another group (prompt, patient), and which. Shapes: [N, D] -> [N], [N]."""
    distances, partners = nearest(vectors, vectors, 1, metric="cosine", exclude=(groups, groups))
    return distances[:, 0], partners[:, 0]


def collapsed(vectors: np.ndarray, seed: int) -> np.ndarray:
    """The same set with every tenth image replaced by its neighbour in a random order: collapse at a known rate."""
    order = np.random.default_rng([seed, 3]).permutation(len(vectors))
    planted = vectors.copy()
    planted[order[::10]] = vectors[np.roll(order, -1)[::10]]
    return planted


def _vectors(pixels: np.ndarray) -> np.ndarray:
    return pixel_details(pixels[:, None].astype(np.float32) / 127.5 - 1)
