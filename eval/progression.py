"""Figures of follow-up images: labels, the course of findings, identity, sex and age."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from . import labels
from .readings import Readings, cosine
from .series import ALL, Series

NEAR = 10  # years
DIRECTION = "direction"
TO_PRIOR, TO_REAL = "similarity to the prior", "similarity to the real follow-up"
COURSES = {"worsened": 1, "stable": 0, "improved": -1}  # a finding comes, stays or stays away, goes
COURSE = "course, mean of the three"
Measure = Callable[..., float | np.ndarray]  # (readings, chosen pairs [N] bool, weights [B, N] or None) -> float or [B]


def measures(series: Series) -> dict[str, tuple[Measure, np.ndarray]]:
    """Each figure and the pairs that it is of; those of labels where the series has labels to be judged."""
    everyone = np.ones(len(series.subset), bool)
    found = _of_labels(series) if series.names else {}
    found[TO_PRIOR] = (partial(_similarity, series, "prior"), everyone)
    found[TO_REAL] = (partial(_similarity, series, "target"), everyone)
    prior = series.read["prior"]
    found["sex read as in the prior"] = (partial(_same_sex, (prior.female >= 0.5).astype(float)), everyone)
    found["age read within 10 years of the prior"] = (partial(_same_age, prior.age), everyone)
    for name, of, words in (
        ("female", _same_sex, "sex read as recorded"),
        ("age", _same_age, "age read within 10 years of the record"),
    ):
        said = series.recorded.get(name, np.full(len(everyone), np.nan))
        if np.isfinite(said).any():
            found[words] = (partial(of, said), np.isfinite(said))
    return found


def direction(read: Readings, prior: Readings, truth: np.ndarray, before: np.ndarray, names: list[str]):
    """For each pair, how many labels that changed were moved the right way, and how many changed. Shapes: [N], [N]."""
    moved = np.sign(read.scores(names) - prior.scores(names))
    asked = truth.astype(int) - before.astype(int)
    return ((moved * asked + 1) / 2 * (asked != 0)).sum(1), (asked != 0).sum(1)


def thresholds(series: Series) -> np.ndarray:
    """For each label the threshold with the best F1 on the real priors. Shapes: -> [K]."""
    scores, before = series.read["prior"].scores(series.names)[series.labelled], series.before[series.labelled]
    return np.array([labels.best_threshold(scores[:, k], before[:, k]) for k in range(len(series.names))])


def course(series: Series, limits: np.ndarray, asked: int, read: Readings, chosen: np.ndarray, weights):
    """Of the labels that really worsened (1), stayed (0) or improved (-1), the share read so. Shapes: limits [K]."""
    over = [one.scores(series.names) >= limits for one in (read, series.read["prior"])]
    said = over[0].astype(int) - over[1].astype(int)
    really = series.truth.astype(int) - series.before.astype(int) == asked
    return _share((really & (said == asked)).sum(1), really.sum(1), chosen, weights)


def _of_labels(series: Series) -> dict[str, tuple[Measure, np.ndarray]]:
    limits, found = thresholds(series), {}
    subsets = series.subsets()
    for name, chosen in subsets.items():
        found[f"AUROC, {name}"] = (partial(_label_figure, series, labels.auroc, None), chosen)
        found[f"F1, {name}"] = (partial(_label_figure, series, labels.f1, limits), chosen)
    found[DIRECTION] = (partial(_direction_share, series), subsets[ALL])
    for name, asked in COURSES.items():
        found[f"course, {name}"] = (partial(course, series, limits, asked), subsets[ALL])
    found[COURSE] = (partial(_balanced, series, limits), subsets[ALL])
    return found


def _label_figure(series: Series, of: Callable, limits: np.ndarray | None, read: Readings, chosen: np.ndarray, weights):
    scores, truth = read.scores(series.names)[chosen], series.truth[chosen]
    said = scores if limits is None else scores >= limits
    return labels.macro(of, said, truth, None if weights is None else weights[:, chosen])


def _direction_share(series: Series, read: Readings, chosen: np.ndarray, weights):
    right, asked = direction(read, series.read["prior"], series.truth, series.before, series.names)
    return _share(right, asked, chosen, weights)


def _balanced(series: Series, limits: np.ndarray, read: Readings, chosen: np.ndarray, weights):
    return sum(course(series, limits, asked, read, chosen, weights) for asked in COURSES.values()) / len(COURSES)


def _share(above: np.ndarray, below: np.ndarray, chosen: np.ndarray, weights):
    counts = (np.ones((1, len(above))) if weights is None else weights) * chosen
    with np.errstate(invalid="ignore"):
        share = (counts @ above) / (counts @ below)
    return float(share[0]) if weights is None else share


def _similarity(series: Series, to: str, read: Readings, chosen: np.ndarray, weights):
    centre = series.read["prior"].features.mean(0)  # what all radiographs share says nothing of a person
    values = np.where(chosen, cosine(read.features - centre, series.read[to].features - centre), np.nan)
    return labels.mean(values, weights)


def _same_sex(female: np.ndarray, read: Readings, chosen: np.ndarray, weights):
    same = (read.female >= 0.5) == (female >= 0.5)
    return labels.mean(np.where(chosen, same, np.nan), weights)


def _same_age(age: np.ndarray, read: Readings, chosen: np.ndarray, weights):
    near = np.abs(read.age - age) <= NEAR
    return labels.mean(np.where(chosen, near, np.nan), weights)
