"""Follow-up images: do they show the labels of the real follow-up, change in its direction, and stay the same patient?

From a table of image files: prior, target (the real follow-up), generated, and the columns prior_findings and findings
(of the target), patient, and if wanted subset, sex, age, generated_wrong (drawn with another patient's events), events,
events_wrong and gap_hours. Beside the generated images stand the real follow-up, the prior handed on unchanged, the
generated image of another patient; beside their labels those of the prior, and of a classifier that sees the table
alone.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from gen.judges.frechet import frechet_distance

from .progression import COURSE, DIRECTION, TO_PRIOR, TO_REAL, Measure, measures
from .readings import Judge, Readings
from .resampling import DRAWS, as_figure, cluster_counts, difference, estimate, told
from .section import BAD, GOOD, UNCLEAR, Figure, Section, Table, Verdict
from .series import ALL, COPY, GENERATED, LEAST, REAL, SHUFFLED, UNKNOWN, WRONG_EVENTS, Series, read_series
from .stats import Interval
from .table_baselines import CLASSIFIED, COPIED, label_rows

FRECHET = "Frechet distance to real follow-ups"  # of the reader's features
FEW = 20  # patients, below which a bootstrap of them covers less than it says
OF_EVENTS = (f"AUROC, {ALL}", f"F1, {ALL}", DIRECTION, COURSE, TO_PRIOR, TO_REAL)


def measure_series(table: str | Path, judge: Judge, draws: int = DRAWS, seed: int = 0) -> Section:
    """Judge a table of follow-up images. Errors: UserError for a missing column or file."""
    rows, series = read_series(table, judge)
    section = summary(series, draws, seed)
    if series.names:
        section.tables.append(_without_images(rows, series, draws, seed))
    return section


def summary(series: Series, draws: int = DRAWS, seed: int = 0) -> Section:
    """Figures of the generated images, with the real follow-up as floor and another patient's as control."""
    section = Section("temporal", "Follow-up images")
    weights = cluster_counts(series.patients, draws, seed)
    candidates, asked = series.candidates(seed), measures(series)
    rows = []
    for name, (measure, chosen) in asked.items():
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
        rows.append((name, str(int(chosen.sum())), *cells, *told(gain)))
    rows.append(_fidelity(section, candidates))
    header = ("figure", "n", *candidates, "generated minus copy", "95 % interval", "p")
    section.tables.append(Table("Follow-up images and their baselines", header, rows))
    section.verdicts += [_of_direction(asked, candidates, weights), *_of_copying(asked, candidates, weights)]
    if series.exchanged is not None:
        _add_events(section, series, asked, candidates, weights)
    section.notes.append(_note(series))
    return section


def _fidelity(section: Section, candidates: dict[str, Readings]) -> tuple[str, ...]:
    """Whether as a set they look like real follow-ups; priors, which are real radiographs, are the floor."""
    real = candidates[REAL].features
    found = {who: frechet_distance(read.features, real) for who, read in candidates.items()}
    shown = Figure(FRECHET, found[GENERATED], None, None, len(real), "", "low", found[COPY], None, GENERATED)
    section.figures.append(shown)
    cells = [f"{value:.3g}" for value in found.values()]
    return (FRECHET, str(len(real)), *cells, f"{found[GENERATED] - found[COPY]:+.3g}", "", "")


def _add_events(
    section: Section,
    series: Series,
    asked: dict[str, tuple[Measure, np.ndarray]],
    candidates: dict[str, Readings],
    weights: np.ndarray,
) -> None:
    """The own events less another patient's, of the pairs where these differ."""
    rows, gains = [], {}
    for name in [name for name in OF_EVENTS if name in asked]:
        measure, chosen = asked[name]
        chosen = chosen & series.exchanged
        own, other = (partial(measure, candidates[who], chosen) for who in (GENERATED, WRONG_EVENTS))
        if chosen.any():
            gains[name] = difference(own, other, weights)
            cells = [f"{of(None):.3f}" for of in (own, other)]
            rows.append((name, str(int(chosen.sum())), *cells, *told(gains[name])))
    if not rows:
        section.notes.append("No pair has events that differ from the other patient's: nothing is said of events.")
        return
    header = ("figure", "n", "own events", "another patient's events", "own minus other", "95 % interval", "p")
    section.tables.append(Table("What the events do, of pairs where they differ", header, rows))
    section.verdicts.append(_of_events(gains[TO_REAL], int(series.exchanged.sum())))


def _without_images(rows: pd.DataFrame, series: Series, draws: int, seed: int) -> Table:
    """Labels as the prior's, or a classifier of the table, would have them, of the pairs whose findings are known."""
    known = series.labelled
    subsets = {name: chosen[known] for name, chosen in series.subsets().items()}
    weights = cluster_counts(series.patients[known], draws, seed)
    labels = (series.truth[known], series.before[known])
    found = label_rows(rows[known].reset_index(drop=True), *labels, subsets, series.patients[known], weights)
    header = ("pairs", "n", *(f"{figure}, {who}" for who in (COPIED, CLASSIFIED) for figure in ("AUROC", "F1")))
    return Table("Labels without an image", header, found)


def _of_direction(
    asked: dict[str, tuple[Measure, np.ndarray]], candidates: dict[str, Readings], weights: np.ndarray
) -> Verdict:
    measure, chosen = asked.get(DIRECTION, (None, None))
    found = {who: estimate(partial(measure, candidates[who], chosen), weights) for who in (GENERATED, REAL) if measure}
    if not found or np.isnan(found[GENERATED].low):
        return Verdict(UNCLEAR, "Too few findings change to tell whether generated follow-ups move the right way.")
    made, real = found[GENERATED], found[REAL]
    if made.low > 0.5:
        return Verdict(GOOD, f"Findings move in the right direction in {made.value:.0%} of changes (chance: 50 %).")
    if not real.low > 0.5:
        words = f"The reader itself sees the right direction in {real.value:.0%} of changes on the real follow-ups"
        return Verdict(UNCLEAR, f"{words}: of the generated ones ({made.value:.0%}) it can tell nothing.")
    kind, words = (BAD, "do worse than chance") if made.high < 0.5 else (UNCLEAR, "cannot be told from chance")
    return Verdict(kind, f"Changes of findings ({made.value:.0%} in the right direction) {words}.")


def _of_copying(
    asked: dict[str, tuple[Measure, np.ndarray]], candidates: dict[str, Readings], weights: np.ndarray
) -> list[Verdict]:
    """A warning where generated images are nearer to the prior than real follow-ups are."""
    measure, chosen = asked[TO_PRIOR]
    made, real = (partial(measure, candidates[who], chosen) for who in (GENERATED, REAL))
    nearer = difference(made, real, weights)
    measure, chosen = asked[TO_REAL]
    gain = difference(*(partial(measure, candidates[who], chosen) for who in (GENERATED, COPY)), weights)
    if not nearer.low > 0:
        return []
    words = f"Generated follow-ups are nearer to the prior ({made(None):.2f}) than the real ones are ({real(None):.2f})"
    if gain.low > 0:
        return [Verdict(UNCLEAR, f"{words}, but nearer to these than a copy is ({gain.value:+.3f}).")]
    return [Verdict(BAD, f"{words}, and no nearer to these than a copy is: they change too little, or at random.")]


def _of_events(gain: Interval, pairs: int) -> Verdict:
    shown = f"{gain.value:+.3f} ({gain.low:+.3f} to {gain.high:+.3f}), {pairs} pairs"
    if gain.low > 0:
        return Verdict(GOOD, f"The own events bring the image nearer to the real follow-up than another's do: {shown}.")
    kind = BAD if gain.high < 0 else UNCLEAR
    return Verdict(kind, f"The own events bring the image no nearer to the real follow-up than another's do: {shown}.")


def _note(series: Series) -> str:
    unknown = int((series.subset == UNKNOWN).sum())
    left_out = f" {unknown} pairs whose findings are not known stand in no figure of labels." if unknown else ""
    count = len(set(series.patients))
    few = ": intervals are too narrow" if count < FEW else ""
    head = f"{len(series.patients)} pairs of {count} patients{few}."
    if not series.names:
        return f"{head} No finding stands in {LEAST} pairs and is absent from {LEAST}: no figures of labels.{left_out}"
    return (
        f"{head} Labels: {', '.join(series.names)}. Same, Diff: pairs whose findings are those of the prior, or not. "
        "Direction: of the labels that changed, how many moved the reader's probability the right way (no movement "
        "counts half); course: of the labels that worsened (new), stayed or improved (gone), how many are read so. "
        f"F1 and course use thresholds chosen on the real priors.{left_out}"
    )
