"""Who is missed: false negatives and wrong all-clears of downstream classifiers by group, with and without synthetic.

A classifier says as many times yes to a label as there are positives in the whole test set: the threshold is the same
for everybody and nothing is tuned. Underdiagnosis is the share of ill patients who are told "No Finding"
(Seyyed-Kalantari et al. 2021).
"""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd

from gen.data.vocabulary import NO_FINDING

from . import labels
from .groups import groups_of
from .resampling import as_figure, cluster_counts, difference, estimate, told
from .section import Figure, Table
from .utility_plan import REAL, baseline
from .utility_study import HeldOut, Study

LEAST = 10  # ill patients' images that a group needs
UNDER, MISSED = "underdiagnosis", "false-negative rate"


def attribute_groups(rows: pd.DataFrame) -> dict[str, dict[str, np.ndarray]]:
    """Masks of the groups of each attribute: sex, age, view, and race and source where they are known.

    Shapes: attribute -> group -> [N] bool.
    """
    masks = groups_of(rows.assign(findings=""))
    named = {
        "sex": {name: mask for name, mask in masks.items() if name in ("female", "male")},
        "age": {name: mask for name, mask in masks.items() if name.startswith("age ")},
        "view": {name: mask for name, mask in masks.items() if name.startswith("view ")},
    }
    for column in ("race", "source"):
        if column in rows:
            values = rows[column].astype(str)
            named[column] = {f"{column} {name}": (values == name).to_numpy() for name in sorted(set(values) - {""})}
    return {attribute: {name: mask for name, mask in some.items() if mask.any()} for attribute, some in named.items()}


def verdicts_of(scores: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Yes for the highest scores, as many as there are positives. Shapes: [N, K], [N, K] -> [N, K] bool."""
    ranks = np.argsort(np.argsort(-scores, axis=0, kind="stable"), axis=0)
    return ranks < truth.sum(0)


def underdiagnosed(scores: np.ndarray, truth: np.ndarray, names: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Who was told "No Finding", and who is ill. Shapes: [N, K], [N, K] -> [N] bool, [N] bool."""
    place = names.index(NO_FINDING)
    return verdicts_of(scores, truth)[:, place], ~truth[:, place]


def missed(scores: np.ndarray, truth: np.ndarray, names: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Share of an image's findings that were missed, and whether it has any. Shapes: -> [N] float, [N] bool."""
    kept = [place for place, name in enumerate(names) if name != NO_FINDING]
    said, there = verdicts_of(scores, truth)[:, kept], truth[:, kept]
    number = there.sum(1)
    return (there & ~said).sum(1) / np.maximum(number, 1), number > 0


def gap_figures(study: Study, test: HeldOut, draws: int, seed: int) -> tuple[list[Figure], list[Table]]:
    """Rates by group and the gap between the worst and the best group of each attribute, for every setting.

    The floor of a figure is that of the classifier trained on real images only.
    """
    weights = cluster_counts(test.patients, draws, seed)
    figures, tables = [], []
    for name, measure in _measures(test).items():
        outcomes = {setting: _mean_outcome(study, setting, test, measure) for setting in study.scores}
        for attribute, groups in attribute_groups(test.rows).items():
            ill = next(iter(outcomes.values()))[1]
            judged = {group: mask & ill for group, mask in groups.items() if (mask & ill).sum() >= LEAST}
            if len(judged) < 2:
                continue
            gaps = {setting: partial(gap, outcome[0], judged) for setting, outcome in outcomes.items()}
            figures += _rates(name, outcomes, judged, weights)
            figures += _gaps(name, attribute, gaps, weights, int(sum(mask.sum() for mask in judged.values())))
            tables.append(_table(name, attribute, gaps, weights))
    return figures, tables


def gap(outcome: np.ndarray, groups: dict[str, np.ndarray], weights: np.ndarray | None = None):
    """The highest minus the lowest group's mean outcome. Shapes: [N], group -> [N] bool, [B, N] -> float or [B]."""
    means = np.array([labels.mean(np.where(mask, outcome, np.nan), weights) for mask in groups.values()])
    found = means.max(0) - means.min(0)  # NaN where a resampling empties a group
    return float(found) if weights is None else found


def _measures(test: HeldOut) -> dict:
    return {UNDER: underdiagnosed, MISSED: missed} if NO_FINDING in test.names else {MISSED: missed}


def _mean_outcome(study: Study, setting: str, test: HeldOut, measure) -> tuple[np.ndarray, np.ndarray]:
    """An image's outcome averaged over training runs, and who is ill."""
    runs = [measure(scores, test.truth, test.names) for scores in study.of(setting, test)]
    return np.mean([outcome for outcome, _ in runs], axis=0), runs[0][1]


def _rates(name: str, outcomes: dict, groups: dict[str, np.ndarray], weights: np.ndarray) -> list[Figure]:
    figures = []
    for setting, (outcome, _) in outcomes.items():
        for group, mask in groups.items():
            value = partial(labels.mean, np.where(mask, outcome, np.nan))
            floor = float(labels.mean(np.where(mask, outcomes[REAL][0], np.nan))) if REAL in outcomes else None
            found = estimate(value, weights)
            shown = as_figure(name, found, int(mask.sum()), "", "low", floor, group=f"{group}, {setting}")
            figures.append(shown)
    return figures


def _gaps(name: str, attribute: str, gaps: dict, weights: np.ndarray, n: int) -> list[Figure]:
    floor = float(gaps[REAL](None)) if REAL in gaps else None
    title = f"{name} gap by {attribute}"
    return [
        as_figure(title, estimate(value, weights), n, "", "low", floor, group=setting)
        for setting, value in gaps.items()
    ]


def _table(name: str, attribute: str, gaps: dict, weights: np.ndarray) -> Table:
    rows = []
    for setting, value in gaps.items():
        against = baseline(setting)
        compared = against in gaps and against != setting
        change = told(difference(value, gaps[against], weights)) if compared else ("", "", "")
        rows.append((setting, f"{value(None):.3f}", *change))
    header = ("setting", "gap", "change against real only", "95 % interval", "p")
    return Table(f"{name}: gap between groups of {attribute}", header, rows)
