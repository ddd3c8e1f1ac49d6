"""Measures of the chest from masks of lungs and heart, against what the prompt asked for; in the way of CheXStruct.

Frontal views only. Effect sizes compare images with a finding with images without any, synthetic beside real.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from gen.data.vocabulary import NO_FINDING
from gen.judges.lungs import SEEN, LungSegmenter, chest_measures

from .groups import clusters_of
from .readings import BATCH, FRONTAL, other_rows, truth_matrix
from .resampling import as_figure, cluster_counts, estimate
from .section import Figure

ANGLE = "costophrenic_angle"
LEAST = 10  # images on either side of a comparison
RISE, REACH = 0.2, 0.25  # of a lung's height and width: where wall and diaphragm are looked up


@dataclass(frozen=True)
class Effect:
    """A finding that should move a measure, upwards (1) or downwards (-1)."""

    measure: str
    finding: str
    sign: int
    words: str


EFFECTS = (
    Effect("cardiothoracic_ratio", "Cardiomegaly", 1, "a wide heart"),
    Effect(ANGLE, "Pleural Effusion", 1, "a blunted costophrenic angle"),
    Effect("lung_area", "Pleural Effusion", -1, "less lung to be seen"),
    Effect("lung_area", "Emphysema", 1, "large lungs"),
    Effect("lung_height", "Atelectasis", -1, "low lungs"),
)


def measure_pixels(pixels: np.ndarray, segmenter: LungSegmenter) -> dict[str, np.ndarray]:
    """Every measure of every image; NaN where a structure is not seen. Shapes: [N, H, W] uint8 -> [N] each."""
    found: list[dict[str, np.ndarray]] = []
    for first in tqdm(range(0, len(pixels), BATCH), desc="anatomy", unit="batch", disable=None):
        masks = segmenter.masks(torch.from_numpy(pixels[first : first + BATCH]).float()[:, None] / 127.5 - 1)
        lungs = (masks[:, 0] > SEEN).numpy()
        measures = {name: values.numpy() for name, values in chest_measures(masks).items()}
        found.append(measures | {ANGLE: np.array([costophrenic_angle(mask) for mask in lungs])})
    return {name: np.concatenate([part[name] for part in found]) for name in found[0]}


def costophrenic_angle(lungs: np.ndarray) -> float:
    """The wider one of the two angles between chest wall and diaphragm, degrees; NaN where a lung is not seen.

    Sharp in health, wide where fluid or atelectasis blunts it. Shapes: [H, W] bool.
    """
    columns = np.flatnonzero(lungs.any(0))
    if len(columns) < 4:
        return float("nan")
    middle = round((columns[0] + columns[-1] + 1) / 2)
    sides = [np.transpose(np.nonzero(part)) for part in (lungs[:, :middle], lungs[:, middle:])]
    # rows and, growing outwards, columns of each lung's pixels
    outwards = [(middle - 1 - sides[0][:, 1], sides[0][:, 0]), (sides[1][:, 1], sides[1][:, 0])]
    angles = [_angle(x, y) for x, y in outwards]
    return float(np.max(angles))  # NaN if either is


def hedges_g(values: np.ndarray, ill: np.ndarray, well: np.ndarray, weights: np.ndarray | None = None):
    """Difference of means over the pooled deviation, corrected for small numbers (Hedges 1981).

    Shapes: [N], [N] bool, [N] bool, [B, N] counts -> float or [B].
    """
    counts = np.ones((1, len(values))) if weights is None else weights
    known = np.nan_to_num(values)
    parts = []
    for chosen in (ill, well):
        part = counts * (chosen & np.isfinite(values))
        n = part.sum(1)
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = part @ known / n
            parts.append((n, mean, part @ known**2 - n * mean**2))
    (n1, mean1, squares1), (n2, mean2, squares2) = parts
    freedom = n1 + n2 - 2
    with np.errstate(invalid="ignore", divide="ignore"):
        found = (mean1 - mean2) / np.sqrt((squares1 + squares2) / freedom) * (1 - 3 / (4 * freedom - 1))
    found = np.where((n1 >= 2) & (n2 >= 2), found, np.nan)
    return float(found[0]) if weights is None else found


def effect_figures(
    made: tuple[pd.DataFrame, dict[str, np.ndarray]],
    real: tuple[pd.DataFrame, dict[str, np.ndarray]],
    draws: int,
    seed: int,
) -> list[Figure]:
    """Effect sizes of findings on measures among synthetic images; real ones as floor, shuffled prompts as control.

    `made` and `real` are rows and their measures. Positive is the expected direction.
    """
    figures = []
    rows, values = made
    weights = cluster_counts(clusters_of(rows), draws, seed)
    shuffled = rows.iloc[other_rows(clusters_of(rows), seed)]
    for effect in EFFECTS:
        if min(*_numbers(rows, values, effect), *_numbers(*real, effect)) < LEAST:
            continue
        found = estimate(partial(_effect, rows, values, effect), weights)
        floor, control = _effect(*real, effect, None), _effect(shuffled, values, effect, None)
        name = f"{effect.measure.replace('_', ' ')}: {effect.words}"
        n = sum(_numbers(rows, values, effect))
        figures.append(as_figure(name, found, n, "Hedges g", "high", floor, control, group=effect.finding))
    return figures


def _effect(rows: pd.DataFrame, values: dict[str, np.ndarray], effect: Effect, weights):
    return effect.sign * hedges_g(values[effect.measure], *_sides(rows, effect), weights)


def _sides(rows: pd.DataFrame, effect: Effect) -> tuple[np.ndarray, np.ndarray]:
    frontal = rows["view"].isin(FRONTAL).to_numpy()
    ill, well = truth_matrix(rows["findings"], (effect.finding, NO_FINDING)).T
    return ill & frontal, well & frontal


def _numbers(rows: pd.DataFrame, values: dict[str, np.ndarray], effect: Effect) -> tuple[int, int]:
    seen = np.isfinite(values[effect.measure])
    ill, well = _sides(rows, effect)
    return int((ill & seen).sum()), int((well & seen).sum())


def _angle(x: np.ndarray, y: np.ndarray) -> float:
    """Angle at a lung's lower outer corner. Shapes: columns growing outwards, rows growing downwards."""
    if len(x) == 0:
        return float("nan")
    corner = int(np.argmax(x + y))
    tip = np.array([x[corner], y[corner]], dtype=float)
    row, column = round(tip[1] - RISE * np.ptp(y)), round(tip[0] - REACH * np.ptp(x))
    wall, floor = x[y == row], y[x == column]
    if not len(wall) or not len(floor):
        return float("nan")
    up, in_ = np.array([wall.max(), row]) - tip, np.array([column, floor.max()]) - tip
    lengths = np.linalg.norm(up) * np.linalg.norm(in_)
    return float(np.degrees(np.arccos(np.clip(up @ in_ / lengths, -1, 1)))) if lengths else float("nan")
