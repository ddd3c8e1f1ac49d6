"""Whether images show what their rows say, by a reader: findings, view, sex, age; real images beside, rows shuffled."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd

from . import labels
from .groups import clusters_of
from .readings import Readings, other_rows, truth_matrix
from .resampling import as_figure, cluster_counts, estimate
from .section import Better, Figure


@dataclass(frozen=True)
class Sample:
    """Images read, and the rows that say what they should show."""

    read: Readings
    rows: pd.DataFrame

    def shuffled(self, seed: int) -> Sample:
        """The same images under the rows of other patients or prompts."""
        return Sample(self.read, self.rows.iloc[other_rows(clusters_of(self.rows), seed)].reset_index(drop=True))

    @property
    def sex(self) -> np.ndarray:
        return self.rows["sex"].to_numpy(dtype=str)

    @property
    def age(self) -> np.ndarray:
        return self.rows["age"].to_numpy(dtype=float, na_value=np.nan)

    def views(self) -> np.ndarray:
        """The rows' views as the reader names them; a supine one is an AP where it has no other."""
        asked = self.rows["view"].to_numpy(dtype=str)
        return np.array([view if view in self.read.views else view.split(" ")[0] for view in asked])


def label_names(samples: list[Sample], least: int) -> list[str]:
    """Labels of the reader that enough images of every sample show, and enough lack."""
    names = samples[0].read.labels
    counts = [truth_matrix(sample.rows["findings"], names).sum(0) for sample in samples]
    enough = np.all([(n >= least) & (len(s.rows) - n >= least) for n, s in zip(counts, samples, strict=True)], axis=0)
    return [name for name, good in zip(names, enough, strict=True) if good]


def thresholds(sample: Sample, names: list[str]) -> np.ndarray:
    """The F1-best threshold of each label on real images that are not judged. Shapes: -> [K]."""
    truth, scores = truth_matrix(sample.rows["findings"], names), sample.read.scores(names)
    return np.array([labels.best_threshold(scores[:, k], truth[:, k]) for k in range(len(names))])


def label_figures(
    made: Sample, real: Sample, names: list[str], limits: np.ndarray, draws: int, seed: int
) -> list[Figure]:
    """AUROC and F1 of each label and their means; the same on real images as floor, under shuffled rows as control."""
    figures = []
    for group, columns in [("", range(len(names))), *((name, [k]) for k, name in enumerate(names))]:
        for name, of in (("label AUROC", labels.auroc), ("label F1", labels.f1)):
            limit = limits[list(columns)] if of is labels.f1 else None
            value = partial(_label, of, [names[k] for k in columns], limit)
            figures.append(compared(name, value, made, real, draws, seed, group=group))
    return figures


def attribute_figures(made: Sample, real: Sample, draws: int, seed: int) -> list[Figure]:
    """Agreement of view and sex, and error of age, where the reader reads them and rows state them."""
    figures = []
    if made.read.views:
        figures.append(compared("view accuracy", _view, made, real, draws, seed))
    if np.isfinite(made.read.female).all():
        figures.append(compared("sex accuracy", _sex, made, real, draws, seed))
        figures.append(compared("sex AUROC", _sex_area, made, real, draws, seed))
    if np.isfinite(made.read.age).all():
        figures.append(compared("age error", _age, made, real, draws, seed, unit="years", better="low"))
    return [figure for figure in figures if figure.n]


def compared(
    name: str,
    value: Callable,
    made: Sample,
    real: Sample,
    draws: int,
    seed: int,
    unit: str = "",
    better: Better = "high",
    group: str = "",
) -> Figure:
    """`value(sample, weights)` of the synthetic images, of real ones, and of the synthetic under shuffled rows."""
    weights = cluster_counts(clusters_of(made.rows), draws, seed)
    found = estimate(partial(value, made), weights)
    floor, control = (float(value(sample, None)) for sample in (real, made.shuffled(seed)))
    n = 0 if np.isnan(found.value) else len(made.rows)
    return as_figure(name, found, n, unit, better, floor, control, group)


def _label(of: Callable, names: list[str], limits: np.ndarray | None, sample: Sample, weights):
    scores = sample.read.scores(names)
    said = scores if limits is None else scores >= limits
    return labels.macro(of, said, truth_matrix(sample.rows["findings"], names), weights)


def _view(sample: Sample, weights):
    asked = sample.views()
    return labels.rate(sample.read.said_views() == asked, np.isin(asked, sample.read.views), weights)


def _sex(sample: Sample, weights):
    return labels.rate((sample.read.female > 0.5) == (sample.sex == "F"), np.isin(sample.sex, ["F", "M"]), weights)


def _sex_area(sample: Sample, weights):
    known = np.isin(sample.sex, ["F", "M"])
    return labels.auroc(
        sample.read.female[known], sample.sex[known] == "F", None if weights is None else weights[:, known]
    )


def _age(sample: Sample, weights):
    return labels.mean(np.abs(sample.read.age - sample.age), weights)
