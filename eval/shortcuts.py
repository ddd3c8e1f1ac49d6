"""Shortcut probes: does a reader still read the label with the lungs covered, or the drain instead of the disease?"""

from __future__ import annotations

from functools import partial

import numpy as np
import torch
from scipy.ndimage import binary_dilation
from tqdm import tqdm

from gen.judges.lungs import SEEN, LungSegmenter

from . import labels
from .agreement import Sample
from .groups import clusters_of
from .readings import BATCH, judged_labels, truth_matrix
from .resampling import as_figure, cluster_counts, difference, estimate
from .section import Figure

DEVICES = "Support Devices"
DRAINED = "Pneumothorax"
MARGIN = 0.03  # of the side, by which lungs are covered beyond their masks
LEAST = 10  # images with a label and without it


def lung_masks(pixels: np.ndarray, segmenter: LungSegmenter) -> np.ndarray:
    """Lungs with a margin. Shapes: [N, H, W] uint8 -> [N, H, W] bool."""
    masks = []
    for first in tqdm(range(0, len(pixels), BATCH), desc="lungs", unit="batch", disable=None):
        images = torch.from_numpy(pixels[first : first + BATCH]).float()[:, None] / 127.5 - 1
        masks.append((segmenter.masks(images)[:, 0] > SEEN).numpy())
    steps = max(1, round(MARGIN * pixels.shape[-1]))
    return np.stack([binary_dilation(mask, iterations=steps) for mask in np.concatenate(masks)])


def covered(pixels: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Every image with its masked part at the mean grey of the rest. Shapes: [N, H, W] uint8, [N, H, W] bool."""
    result = pixels.copy()
    for image, mask in zip(result, masks, strict=True):
        image[mask] = round(float(image[~mask].mean())) if not mask.all() else 0
    return result


def masked_figures(whole: Sample, without: Sample, chance: Sample, name: str, draws: int, seed: int) -> list[Figure]:
    """Label AUROC with the lungs covered: near 0.5 where the reader looks at lungs, near the floor where it does not.

    `without` are readings of the covered images, `chance` of images without anything (rows are the same). None where no
    label stands in some rows and is absent from others.
    """
    names = judged_labels(truth_matrix(whole.rows["findings"], whole.read.labels), whole.read.labels, LEAST)
    if not names:
        return []
    truth = truth_matrix(whole.rows["findings"], names)
    weights = cluster_counts(clusters_of(whole.rows), draws, seed)
    figures = []
    for group, columns in [("", list(range(len(names)))), *((label, [k]) for k, label in enumerate(names))]:
        values = [_area(sample, [names[k] for k in columns], truth[:, columns]) for sample in (whole, without, chance)]
        found = estimate(values[1], weights)
        floor, control = float(values[0](None)), float(values[2](None))
        figures.append(as_figure(name, found, len(truth), "", "", floor, control, group=group))
    return figures


def device_figures(sample: Sample, name: str, draws: int, seed: int) -> list[Figure]:
    """Pneumothorax among images with devices and without, where rows say so; and the AUROC of devices for it.

    A reader that reads the drain ranks well over all images, and badly within either kind.
    """
    if DRAINED not in sample.read.labels:
        return []
    truth, devices = truth_matrix(sample.rows["findings"], (DRAINED, DEVICES)).T
    scores = sample.read.scores([DRAINED])[:, 0]
    weights = cluster_counts(clusters_of(sample.rows), draws, seed)
    figures = []
    for group, chosen in (("with devices", devices), ("without devices", ~devices)):
        if min((truth & chosen).sum(), (~truth & chosen).sum()) < LEAST:
            continue
        found = estimate(partial(_area_within, scores, truth, chosen), weights)
        floor = labels.auroc(scores, truth)
        figures.append(as_figure(name, found, int(chosen.sum()), "", "high", floor, group=f"{DRAINED} {group}"))
    if len(figures) == 2:
        within = [partial(_area_within, scores, truth, chosen) for chosen in (devices, ~devices)]
        gap = difference(*within, weights)
        figures.append(as_figure(f"{name}: with less without devices", gap, len(truth), group=DRAINED))
    return figures


def _area(sample: Sample, names: list[str], truth: np.ndarray):
    return lambda weights: labels.macro(labels.auroc, sample.read.scores(names), truth, weights)


def _area_within(scores: np.ndarray, truth: np.ndarray, chosen: np.ndarray, weights):
    return labels.auroc(scores[chosen], truth[chosen], None if weights is None else weights[:, chosen])
