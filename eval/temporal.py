"""Follow-up images: do they show the labels of the real follow-up, change in its direction, and stay the same patient?

From a table of image files: prior, target (the real follow-up), generated, and the columns prior_findings and findings
(of the target), patient, and if wanted subset, generated_wrong (drawn with another patient's events), events and
gap_hours. Beside the generated images stand the real follow-up, the prior handed on unchanged, the generated image of
another patient; beside their labels those of the prior, and of a classifier that sees the table alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from gen.errors import UserError

from . import labels
from .readings import Judge, Readings, cosine, judged_labels, other_rows, read_files, truth_matrix
from .resampling import DRAWS, as_figure, cluster_counts, difference, estimate, told
from .section import BAD, GOOD, UNCLEAR, Section, Table, Verdict
from .table_baselines import CLASSIFIED, COPIED, label_rows
from .tables import read_pairs

IMAGES = ("prior", "target", "generated")
COLUMNS = ("findings", "prior_findings", "patient")
ALL, SAME, DIFF = "All", "Same", "Diff"
GENERATED, COPY, REAL, SHUFFLED = "generated", "copy of the prior", "real follow-up", "another patient's"
WRONG, WRONG_EVENTS = "generated_wrong", "with another patient's events"
NEAR = 10  # years
LEAST = 5  # images with a label and images without it


@dataclass(frozen=True)
class Series:
    """N pairs: what their images were read as, which labels they have, and who they are of.

    `read` holds prior, target and generated. Shapes: truth, before [N, K] bool for `names`; subset, patients [N].
    """

    names: list[str]
    read: dict[str, Readings]
    truth: np.ndarray
    before: np.ndarray
    subset: np.ndarray
    patients: np.ndarray

    def candidates(self, seed: int) -> dict[str, Readings]:
        """What could be handed out as the follow-up: the generated image and its baselines."""
        generated = self.read["generated"]
        found = {
            GENERATED: generated,
            COPY: self.read["prior"],
            REAL: self.read["target"],
            SHUFFLED: generated.at(other_rows(self.patients, seed)),
        }
        return found | ({WRONG_EVENTS: self.read[WRONG]} if WRONG in self.read else {})


def measure_series(table: str | Path, judge: Judge, draws: int = DRAWS, seed: int = 0) -> Section:
    """Judge a table of follow-up images. Errors: UserError for a missing column or file."""
    rows = read_pairs(table, IMAGES, COLUMNS, more=WRONG)
    series = _series(rows, judge, table)
    section = summary(series, draws, seed)
    subsets = {name: series.subset == name for name in (SAME, DIFF)}
    subsets = {ALL: np.ones(len(series.subset), bool), **{name: one for name, one in subsets.items() if one.any()}}
    weights = cluster_counts(series.patients, draws, seed)
    found = label_rows(rows, series.truth, series.before, subsets, series.patients, weights)
    header = ("pairs", "n", *(f"{figure}, {who}" for who in (COPIED, CLASSIFIED) for figure in ("AUROC", "F1")))
    section.tables.append(Table("Labels without an image", header, found))
    return section


def summary(series: Series, draws: int = DRAWS, seed: int = 0) -> Section:
    """Figures of the generated images, with the real follow-up as floor and another patient's as control."""
    section = Section("temporal", "Follow-up images")
    weights = cluster_counts(series.patients, draws, seed)
    candidates = series.candidates(seed)
    thresholds = _thresholds(series)
    measures = _measures(series, thresholds)
    rows = []
    for name, (measure, subset) in measures.items():
        chosen = series.subset == subset if subset != ALL else np.ones(len(series.subset), bool)
        values = {who: partial(measure, read, chosen) for who, read in candidates.items()}
        found = {who: estimate(value, weights) for who, value in values.items()}
        floor, control = found[REAL].value, found[SHUFFLED].value
        for who in [who for who in (GENERATED, COPY, WRONG_EVENTS) if who in found]:
            shown = as_figure(
                name, found[who], int(chosen.sum()), better="high", floor=floor, control=control, group=who
            )
            section.figures.append(shown)
        gain = difference(values[GENERATED], values[COPY], weights)
        cells = [f"{one.value:.3f}" for one in found.values()]
        rows.append((name, *cells, *told(gain)))
    header = ("figure", *candidates, "generated minus copy", "95 % interval", "p")
    section.tables.append(Table("Follow-up images and their baselines", header, rows))
    section.verdicts.append(_verdict(section))
    section.notes.append(
        f"Labels: {', '.join(series.names)}. Same and Diff: pairs whose findings are those of the prior, or not; "
        "direction: of the labels that changed, how many moved the reader's probability the right way (no movement "
        "counts half). F1 uses thresholds chosen on the real priors."
    )
    return section


def direction(read: Readings, prior: Readings, truth: np.ndarray, before: np.ndarray, names: list[str]):
    """For each pair, how many labels that changed were moved the right way, and how many changed. Shapes: [N], [N]."""
    moved = np.sign(read.scores(names) - prior.scores(names))
    asked = truth.astype(int) - before.astype(int)
    return ((moved * asked + 1) / 2 * (asked != 0)).sum(1), (asked != 0).sum(1)


def _measures(series: Series, thresholds: np.ndarray) -> dict[str, tuple[Callable, str]]:
    found: dict[str, tuple[Callable, str]] = {}
    for subset in (ALL, SAME, DIFF):
        found[f"AUROC, {subset}"] = (partial(_label_figure, series, labels.auroc, None), subset)
        found[f"F1, {subset}"] = (partial(_label_figure, series, labels.f1, thresholds), subset)
    found["direction"] = (partial(_direction_share, series), ALL)
    found["similarity to the prior"] = (partial(_similarity, series, "prior"), ALL)
    found["similarity to the real follow-up"] = (partial(_similarity, series, "target"), ALL)
    found["sex read as in the prior"] = (partial(_same_sex, series), ALL)
    found["age read within 10 years of the prior"] = (partial(_same_age, series), ALL)
    return found


def _label_figure(
    series: Series, of: Callable, thresholds: np.ndarray | None, read: Readings, chosen: np.ndarray, weights
):
    scores, truth = read.scores(series.names)[chosen], series.truth[chosen]
    said = scores if thresholds is None else scores >= thresholds
    return labels.macro(of, said, truth, None if weights is None else weights[:, chosen])


def _direction_share(series: Series, read: Readings, chosen: np.ndarray, weights):
    right, asked = direction(read, series.read["prior"], series.truth, series.before, series.names)
    counts = (np.ones((1, len(right))) if weights is None else weights) * chosen
    with np.errstate(invalid="ignore"):
        share = (counts @ right) / (counts @ asked)
    return float(share[0]) if weights is None else share


def _similarity(series: Series, to: str, read: Readings, chosen: np.ndarray, weights):
    centre = series.read["prior"].features.mean(0)  # what all radiographs share says nothing of a person
    values = np.where(chosen, cosine(read.features - centre, series.read[to].features - centre), np.nan)
    return labels.mean(values, weights)


def _same_sex(series: Series, read: Readings, chosen: np.ndarray, weights):
    same = (read.female >= 0.5) == (series.read["prior"].female >= 0.5)
    return labels.mean(np.where(chosen, same, np.nan), weights)


def _same_age(series: Series, read: Readings, chosen: np.ndarray, weights):
    near = np.abs(read.age - series.read["prior"].age) <= NEAR
    return labels.mean(np.where(chosen, near, np.nan), weights)


def _thresholds(series: Series) -> np.ndarray:
    scores = series.read["prior"].scores(series.names)
    return np.array([labels.best_threshold(scores[:, k], series.before[:, k]) for k in range(len(series.names))])


def _series(rows: pd.DataFrame, judge: Judge, table: str | Path) -> Series:
    truth, before = (truth_matrix(rows[name], judge.labels) for name in ("findings", "prior_findings"))
    names = judged_labels(truth, judge.labels, LEAST)
    names = [name for name in names if before[:, judge.labels.index(name)].any()]
    if not names:
        raise UserError(f"{table}: no finding stands in {LEAST} rows and is absent from {LEAST}; give more pairs")
    places = [judge.labels.index(name) for name in names]
    same = (truth == before).all(1)
    subset = rows["subset"].to_numpy() if "subset" in rows else np.where(same, SAME, DIFF)
    images = (*IMAGES, WRONG) if WRONG in rows else IMAGES
    read = {name: read_files(judge, rows[name], name) for name in images}
    return Series(names, read, truth[:, places], before[:, places], subset, rows["patient"].to_numpy())


def _verdict(section: Section) -> Verdict:
    made = section.figure("direction", GENERATED)
    if made.low is None or made.high is None:
        return Verdict(UNCLEAR, "Too few findings change to tell whether generated follow-ups move the right way.")
    if made.low > 0.5:
        return Verdict(GOOD, f"Findings move in the right direction in {made.value:.0%} of changes (chance: 50 %).")
    kind, words = (BAD, "do worse than chance") if made.high < 0.5 else (UNCLEAR, "cannot be told from chance")
    return Verdict(kind, f"Changes of findings ({made.value:.0%} in the right direction) {words}.")
