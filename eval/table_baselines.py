"""What can be said of a follow-up's labels without an image: the prior's labels, or a classifier of the table."""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd

from . import labels
from .resampling import estimate

FOLDS = 5
RIDGE = 1.0
COPIED, CLASSIFIED = "copy of the prior's labels", "table-only classifier"


def label_rows(
    rows: pd.DataFrame,
    truth: np.ndarray,
    before: np.ndarray,
    subsets: dict[str, np.ndarray],
    patients: np.ndarray,
    weights: np.ndarray,
) -> list[tuple[str, ...]]:
    """Rows of a table: AUROC and F1 of both baselines on each subset. Shapes: truth, before [N, K]; weights [B, N]."""
    scores = {COPIED: before.astype(float), CLASSIFIED: table_scores(rows, truth, before, patients)}
    found = []
    for name, chosen in subsets.items():
        cells = []
        for said in scores.values():
            for figure, values in ((labels.auroc, said), (labels.f1, said >= 0.5)):
                value = estimate(partial(_figure, figure, values[chosen], truth[chosen], chosen), weights)
                cells.append(f"{value.value:.3f} ({value.low:.3f} to {value.high:.3f})")
        found.append((name, str(int(chosen.sum())), *cells))
    return found


def table_scores(rows: pd.DataFrame, truth: np.ndarray, before: np.ndarray, patients: np.ndarray) -> np.ndarray:
    """Ridge regression on prior labels, hours and events, for each patient by the others. Shapes: -> [N, K]."""
    inputs = np.concatenate([before.astype(float), _table(rows)], axis=1)
    fold = {patient: number % FOLDS for number, patient in enumerate(dict.fromkeys(patients))}
    folds = np.array([fold[patient] for patient in patients])
    scores = np.zeros(truth.shape)
    for number in range(FOLDS):
        test = folds == number
        if test.any() and not test.all():
            scores[test] = _ridge(inputs[~test], truth[~test].astype(float), inputs[test])
    return scores


def _table(rows: pd.DataFrame) -> np.ndarray:
    """Hours to the target, and the count and the sum of each code's events. Shapes: -> [N, F]."""
    from gen.data.events import read_cell

    gaps = pd.to_numeric(rows["gap_hours"], errors="coerce") if "gap_hours" in rows else pd.Series(0.0, rows.index)
    cells = [read_cell(cell) for cell in rows["events"]] if "events" in rows else [[] for _ in rows.index]
    codes = sorted({event.code for cell in cells for event in cell})
    counts = [[sum(event.code == code for event in cell) for code in codes] for cell in cells]
    sums = [[np.nansum([e.value for e in cell if e.code == code]) for code in codes] for cell in cells]
    return np.column_stack(
        [gaps.fillna(0), np.array(counts).reshape(len(rows), -1), np.array(sums).reshape(len(rows), -1)]
    )


def _ridge(inputs: np.ndarray, truth: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    centre, spread = inputs.mean(0), np.maximum(inputs.std(0), 1e-9)
    known, asked, middle = (inputs - centre) / spread, (wanted - centre) / spread, truth.mean(0)
    weights = np.linalg.solve(known.T @ known + RIDGE * np.eye(known.shape[1]), known.T @ (truth - middle))
    return asked @ weights + middle


def _figure(figure, said: np.ndarray, truth: np.ndarray, chosen: np.ndarray, weights: np.ndarray | None):
    return labels.macro(figure, said, truth, None if weights is None else weights[:, chosen])
