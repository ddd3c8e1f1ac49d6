"""Report consistency: what a report generator writes of an image, labelled, against the prompt (RoentGen's F1CheXbert).

Any callable from an image to a text will do; texts written elsewhere come in as a table.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import pandas as pd

from gen.data.labeller import LABELS, label_report

from . import labels
from .groups import clusters_of
from .readings import judged_labels, other_rows, truth_matrix
from .resampling import as_figure, cluster_counts, estimate
from .section import Figure

Writer = Callable[[np.ndarray], str]


def written(writer: Writer, pixels: np.ndarray) -> list[str]:
    """A report of each image. Shapes: [N, H, W] uint8."""
    return [writer(image) for image in pixels]


def labelled(reports: Sequence[str], names: Sequence[str]) -> np.ndarray:
    """Which labels each report affirms; doubt counts as no. Shapes: -> [N, K] bool."""
    found = [label_report(text) for text in reports]
    return np.array([[one.get(name) == "positive" for name in names] for one in found]).reshape(-1, len(names))


def consistency_figures(
    rows: pd.DataFrame,
    reports: Sequence[str],
    draws: int,
    seed: int,
    real: tuple[pd.DataFrame, Sequence[str]] | None = None,
) -> list[Figure]:
    """Micro and macro F1 of the reports' labels against the rows'; other rows' labels as control, real ones as floor.

    Labels that no row has are left out. `real` are real rows with the same generator's reports.
    """
    names = judged_labels(truth_matrix(rows["findings"], LABELS), LABELS, 1)
    said = labelled(reports, names)
    weights = cluster_counts(clusters_of(rows), draws, seed)
    shuffled = rows.iloc[other_rows(clusters_of(rows), seed)]
    figures = []
    for name, of in (("report F1, micro", _micro), ("report F1, macro", partial(labels.macro, labels.f1))):
        found = estimate(partial(of, said, truth_matrix(rows["findings"], names)), weights)
        control = float(of(said, truth_matrix(shuffled["findings"], names), None))
        floor = None
        if real is not None:
            floor = float(of(labelled(real[1], names), truth_matrix(real[0]["findings"], names), None))
        figures.append(as_figure(name, found, len(rows), "", "high", floor, control))
    return figures


def _micro(said: np.ndarray, truth: np.ndarray, weights):
    repeated = None if weights is None else np.repeat(weights, said.shape[1], axis=1)
    return labels.f1(said.ravel(), truth.ravel(), repeated)
