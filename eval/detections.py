"""Boxes read off a network's maps, held against true ones: average precision, and sensitivity at few false alarms."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import find_objects, label, maximum

from . import labels
from .boxes import box_counts, is_known

IOUS = (0.1, 0.3, 0.5)
MOST_FOUND = 3  # boxes of one finding in one image, the surest
PART = 0.5  # of a map's peak: what lies above belongs to a box
ALARMS = 1.0  # false boxes an image


def detect(maps: np.ndarray) -> np.ndarray:
    """Connected regions above half of a map's peak as boxes; the score is a region's own peak.

    Shapes: [N, K, R, R] in 0..1 -> [N, K, MOST_FOUND, 5] float32 as x0, y0, x1, y1 in shares of the side and score;
    NaN where there are fewer.
    """
    found = np.full((*maps.shape[:2], MOST_FOUND, 5), np.nan, np.float32)
    for place in np.ndindex(*maps.shape[:2]):
        regions = _regions(maps[place])[:MOST_FOUND]
        if regions:
            found[place][: len(regions)] = regions
    return found


def _regions(one: np.ndarray) -> list[tuple[float, ...]]:
    numbers, count = label(one > PART * one.max())  # pyright: ignore[reportGeneralTypeIssues]
    peaks = maximum(one, numbers, np.arange(1, count + 1))
    side = len(one)
    boxes = []
    for (rows, columns), peak in zip(find_objects(numbers), peaks, strict=True):
        corners = (columns.start, rows.start, columns.stop, rows.stop)
        boxes.append((*(corner / side for corner in corners), float(peak)))
    return sorted(boxes, key=lambda box: -box[4])


def judged(found: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Scores with whether each box hits. Shapes: [N, K, D, 5], [N, K, M, 4] -> [N, K, D, 1 + len(IOUS)]."""
    hits = np.full((*found.shape[:3], 1 + len(IOUS)), np.nan, np.float32)
    for place in np.argwhere(is_known(truth)):
        there = np.isfinite(found[tuple(place)][:, 4])
        true = truth[tuple(place)][np.isfinite(truth[tuple(place)][:, 0])]
        boxes = found[tuple(place)][there]
        hits[tuple(place)][there, 0] = boxes[:, 4]
        for number, least in enumerate(IOUS, start=1):
            hits[tuple(place)][there, number] = matches(boxes, true, least)
    return hits


def matches(found: np.ndarray, true: np.ndarray, least: float) -> np.ndarray:
    """Which boxes hit: the surest first, each the best true box that is still free. Shapes: [D, 5], [M, 4] -> [D]."""
    overlap = iou(found[:, :4], true)
    hits = np.zeros(len(found), bool)
    for place in np.argsort(-found[:, 4], kind="stable") if len(true) else ():
        best = overlap[place].argmax()
        if overlap[place, best] >= least:
            hits[place] = True
            overlap[:, best] = -1
    return hits


def iou(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Intersection over union. Shapes: [D, 4], [M, 4] -> [D, M]."""
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(first[:, None, 2:], second[None, :, 2:])
    shared = np.prod(np.clip(high - low, 0, None), axis=2)
    areas = [np.prod(boxes[:, 2:] - boxes[:, :2], axis=1) for boxes in (first, second)]
    return shared / np.maximum(areas[0][:, None] + areas[1][None] - shared, 1e-12)


def average_precision(least: float, found: np.ndarray, truth: np.ndarray, weights: np.ndarray | None = None):
    """Area under precision against recall by steps, at an IoU of IOUS; a true box that is never hit adds nothing.

    Shapes: found [N, D, 1 + len(IOUS)], truth [N, M, 4], weights [B, N] -> float or [B]; NaN without a true box.
    """
    right, wrong, true, _ = _counted(least, found, truth, weights)
    hits, said = right.cumsum(1), (right + wrong).cumsum(1)
    precision = np.divide(hits, said, out=np.zeros_like(hits), where=said > 0)
    return labels.shaped((right * precision).sum(1), true, weights)


def sensitivity(least: float, found: np.ndarray, truth: np.ndarray, weights: np.ndarray | None = None):
    """Share of true boxes hit with at most ALARMS false boxes an image (FROC). Shapes: as `average_precision`."""
    right, wrong, true, images = _counted(least, found, truth, weights)
    allowed = wrong.cumsum(1) <= ALARMS * images[:, None]
    return labels.shaped(np.where(allowed, right.cumsum(1), 0).max(1, initial=0), true, weights)


def _counted(least: float, found: np.ndarray, truth: np.ndarray, weights: np.ndarray | None):
    """Right and wrong boxes at each score, surest first [B, G] each; true boxes and images [B]."""
    known = is_known(truth)
    counts = np.ones((1, len(truth))) if weights is None else np.asarray(weights, dtype=float)
    rows, places = np.nonzero(np.isfinite(found[..., 0]) & known[:, None])
    chosen = found[rows, places]
    right, wrong = labels.by_score(chosen[:, 0], chosen[:, 1 + IOUS.index(least)], counts[:, rows])
    true = counts @ box_counts(truth).astype(float)
    return np.flip(right, 1), np.flip(wrong, 1), true, counts @ known.astype(float)
