"""Figures of labels read from images: areas under curves, F1, calibration; weighted, so that a bootstrap is one call.

`weights` [B, N] counts how often each image stands in each of B resamplings, and the result is then [B]; without it the
result is a float. Where a figure is not defined (only one class present) it is NaN.
"""

from __future__ import annotations

import numpy as np

CALIBRATION_BINS = 15


def auroc(scores: np.ndarray, truth: np.ndarray, weights: np.ndarray | None = None):
    """Area under the ROC curve, ties counted half. Shapes: [N], [N] 0/1, [B, N] -> float or [B]."""
    positive, negative = by_score(scores, truth, weights)
    below = negative.cumsum(1) - negative
    pairs = positive.sum(1) * negative.sum(1)
    return shaped((positive * (below + negative / 2)).sum(1), pairs, weights)


def average_precision(scores: np.ndarray, truth: np.ndarray, weights: np.ndarray | None = None):
    """Area under the precision-recall curve by steps: the sum of recall gained times precision. Shapes: as `auroc`."""
    positive, negative = (np.flip(part, 1) for part in by_score(scores, truth, weights))
    found, alarms = positive.cumsum(1), (positive + negative).cumsum(1)
    precision = np.divide(found, alarms, out=np.zeros_like(found), where=alarms > 0)
    return shaped((positive * precision).sum(1), positive.sum(1), weights)


def f1(said: np.ndarray, truth: np.ndarray, weights: np.ndarray | None = None):
    """2 TP / (2 TP + FP + FN). Shapes: [N] 0/1, [N] 0/1, [B, N] -> float or [B]."""
    said, truth, counts = said.astype(bool), truth.astype(bool), _counts(weights, len(truth))
    hits = counts @ (said & truth).astype(float)
    return shaped(2 * hits, counts @ said.astype(float) + counts @ truth.astype(float), weights)


def rate(chosen: np.ndarray, among: np.ndarray, weights: np.ndarray | None = None):
    """Share of `chosen` among `among`, as a false-negative rate is. Shapes: [N] 0/1, [N] 0/1, [B, N] -> as `f1`."""
    counts, among = _counts(weights, len(among)), among.astype(bool)
    return shaped(counts @ (chosen.astype(bool) & among).astype(float), counts @ among.astype(float), weights)


def mean(values: np.ndarray, weights: np.ndarray | None = None):
    """Mean of the values that are known. Shapes: [N], [B, N] -> float or [B]."""
    counts = _counts(weights, len(values)) * np.isfinite(values)
    return shaped(counts @ np.nan_to_num(values), counts.sum(1), weights)


def calibration_error(probabilities: np.ndarray, truth: np.ndarray, weights: np.ndarray | None = None):
    """Expected calibration error over 15 bins of equal width (Guo et al. 2017). Shapes: as `auroc`."""
    counts = _counts(weights, len(truth))
    bins = np.clip((probabilities * CALIBRATION_BINS).astype(int), 0, CALIBRATION_BINS - 1)
    member = (bins[:, None] == np.arange(CALIBRATION_BINS)).astype(float)  # [N, bins]
    excess = counts @ (member * (probabilities - truth)[:, None])
    return shaped(np.abs(excess).sum(1), counts.sum(1), weights)


def best_threshold(scores: np.ndarray, truth: np.ndarray) -> float:
    """The threshold with the highest F1 for `scores >= threshold`; to be chosen on real images, never on the judged."""
    positive, negative = (np.flip(part[0]).cumsum() for part in by_score(scores, truth, None))
    values = np.unique(scores)[::-1]
    return float(values[np.argmax(2 * positive / (positive + negative + positive[-1]))])


def macro(figure, scores: np.ndarray, truth: np.ndarray, weights: np.ndarray | None = None):
    """Mean of a figure over labels; a label that a resampling leaves with one class is left out of its mean.

    Shapes: [N, K], [N, K], [B, N] -> float or [B].
    """
    each = np.array([figure(scores[:, k], truth[:, k], weights) for k in range(truth.shape[1])])
    known = np.isfinite(each)
    return shaped(np.nan_to_num(each).sum(0), known.sum(0).astype(float), weights)


def by_score(scores: np.ndarray, truth: np.ndarray, weights: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Positives and negatives at each distinct score, lowest first. Shapes: -> [B, G] twice."""
    if len(scores) == 0:
        return np.zeros((len(_counts(weights, 0)), 1)), np.zeros((len(_counts(weights, 0)), 1))
    order = np.argsort(scores, kind="stable")
    ranked, right = scores[order], truth[order].astype(bool)
    starts = np.flatnonzero(np.r_[True, ranked[1:] != ranked[:-1]])
    counts = _counts(weights, len(scores))[:, order]
    return np.add.reduceat(counts * right, starts, 1), np.add.reduceat(counts * ~right, starts, 1)


def _counts(weights: np.ndarray | None, length: int) -> np.ndarray:
    return np.ones((1, length)) if weights is None else np.asarray(weights, dtype=float)


def shaped(above: np.ndarray, below: np.ndarray, weights: np.ndarray | None):
    with np.errstate(divide="ignore", invalid="ignore"):
        values = np.where(below > 0, np.divide(above, below), np.nan)
    return float(np.squeeze(values)) if weights is None else values
