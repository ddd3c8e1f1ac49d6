"""Figures of a classifier on labelled images: AUROC with intervals by patients, view, sex, age."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from scipy.stats import rankdata
from torch import Tensor

from gen.data.labelled import UNKNOWN, LabelledImages
from gen.models.classifier import Outputs, RadiographClassifier

BATCH = 64
REPEATS = 1000


@torch.no_grad()
def classifier_outputs(classifier: RadiographClassifier, images: LabelledImages) -> Outputs:
    """What a classifier makes of all images, on the CPU."""
    parts = []
    for first in range(0, len(images), BATCH):
        image = images.images[first : first + BATCH].float() / 127.5 - 1
        parts.append([part.float().cpu() for part in classifier(image.to(classifier.device))])
    return Outputs(*(torch.cat(column) for column in zip(*parts, strict=True)))


def reading_figures(outputs: Outputs, images: LabelledImages, labels: Sequence[str]) -> dict[str, float]:
    """Mean AUROC and that of each finding, accuracy of view, sex and child, mean error of age in years.

    What nothing is known about is left out.
    """
    areas = {label: auroc(outputs.findings[:, k], images.findings[:, k]) for k, label in enumerate(labels)}
    areas = {label: value for label, value in areas.items() if not np.isnan(value)}
    stated = ~images.age.isnan()
    figures = {
        "auroc": float(np.mean(list(areas.values()))) if areas else float("nan"),
        "view_right": _share(outputs.view.argmax(1) == images.view, images.view != UNKNOWN),
        "sex_right": _share((outputs.sex > 0) == (images.sex == 1), ~images.sex.isnan()),
        "child_right": _share((outputs.child > 0) == (images.child == 1), ~images.child.isnan()),
        "age_error": float((outputs.age - images.age).abs()[stated].mean()),
    } | {f"auroc {label}": value for label, value in areas.items()}
    return {name: value for name, value in figures.items() if not np.isnan(value)}


def auroc(scores: Tensor | np.ndarray, truth: Tensor | np.ndarray) -> float:
    """Area under the ROC curve over the rows whose truth is known, by mean ranks; NaN without both classes."""
    scores, truth = np.asarray(scores, dtype=np.float64), np.asarray(truth)
    known = ~np.isnan(truth)
    scores, positive = scores[known], truth[known] == 1
    pairs = positive.sum() * (~positive).sum()
    if not pairs:
        return float("nan")
    wins = rankdata(scores)[positive].sum() - positive.sum() * (positive.sum() + 1) / 2
    return float(wins / pairs)


def auroc_interval(
    scores: Tensor | np.ndarray, truth: Tensor | np.ndarray, patients: Sequence[str], seed: int = 0
) -> tuple[float, float]:
    """95 % bootstrap interval of the AUROC, drawn by patients: images of one are no independent evidence."""
    scores, truth = np.asarray(scores, dtype=np.float64), np.asarray(truth)
    known = ~np.isnan(truth)
    names, owner = np.unique(np.asarray(patients)[known], return_inverse=True)
    drawn = np.random.default_rng(seed).multinomial(len(names), np.full(len(names), 1 / len(names)), REPEATS)
    weight, positive = drawn[:, owner].astype(np.float64), truth[known] == 1  # times that each image was drawn
    above = scores[known][positive][:, None] - scores[known][~positive]
    wins = ((weight[:, positive] @ ((np.sign(above) + 1) / 2)) * weight[:, ~positive]).sum(1)
    pairs = weight[:, positive].sum(1) * weight[:, ~positive].sum(1)
    low, high = np.quantile(wins[pairs > 0] / pairs[pairs > 0], [0.025, 0.975])
    return float(low), float(high)


def _share(right: Tensor, known: Tensor) -> float:
    return float(right[known].float().mean())
