"""Images of another view: is it the view that was asked for, with the same findings, and of the patient given?

From a table of image files: context (the view that was given), target (the real one), generated, and the columns view
(asked for), findings, patient; if wanted `generated_wrong`, drawn with another patient's context.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from gen.errors import UserError

from . import labels
from .readings import Judge, Readings, cosine, judged_labels, other_rows, read_files, truth_matrix
from .resampling import DRAWS, as_figure, cluster_counts, difference, estimate, told
from .section import BAD, GOOD, UNCLEAR, Section, Table, Verdict
from .stats import Interval
from .study_codes import WHOSE, read_codes
from .tables import read_pairs

if TYPE_CHECKING:
    from gen.judges.study import StudyJudge

IMAGES = ("context", "target", "generated")
COLUMNS = ("view", "findings", "patient")
WRONG = "generated_wrong"
SIDE = 256  # pixels of the images that are laid over one another
TURNED = "UNKNOWN"  # images asked for by their angle, of no view that could be told
LEAST = 5  # images with a label and images without it, a view
SIMILARITY = "similarity to the real view"
DISTANCE = "grey levels from the real view"


@dataclass(frozen=True)
class Views:
    """N images of asked views. `read` holds target, generated and, with a wrong context, generated_wrong.

    `off` is how far each kind lies from the real view, mean absolute grey levels of 255, `whose` the share of other
    patients' real views whose code each is less like than its own patient's. Shapes: [N].
    """

    read: dict[str, Readings]
    asked: np.ndarray
    findings: list[str]
    patients: np.ndarray
    off: dict[str, np.ndarray] = field(default_factory=dict)
    whose: dict[str, np.ndarray] = field(default_factory=dict)

    def shuffled(self, seed: int) -> Readings:
        """Each row gets another patient's generated image."""
        return self.read["generated"].at(other_rows(self.patients, seed))


def measure_views(
    table: str | Path, judge: Judge, draws: int = DRAWS, seed: int = 0, coder: StudyJudge | None = None
) -> Section:
    """Judge a table of generated views, with a coder of studies also whose they are.

    Errors: UserError for a missing column or file, or a view the judge lacks.
    """
    rows = read_pairs(table, IMAGES, COLUMNS, more=WRONG)
    asked = rows["view"].replace({"AP SUPINE": "AP"}).to_numpy()
    unknown = sorted(set(asked) - {*judge.views, TURNED})
    if unknown:
        raise UserError(f"{table}: view {unknown[0]!r} is none that the reader knows ({', '.join(judge.views)})")
    names = [name for name in (*IMAGES[1:], WRONG) if name in rows]
    read = {name: read_files(judge, rows[name], name) for name in names}
    off = {name: _off(rows[name], rows["target"]) for name in names[1:]}
    whose = {} if coder is None else _whose(coder, rows, names)
    views = Views(read, asked, rows["findings"].to_list(), rows["patient"].to_numpy(), off, whose)
    return summary(views, draws, seed)


def _whose(coder: StudyJudge, rows: pd.DataFrame, names: Sequence[str]) -> dict[str, np.ndarray]:
    """`nearer_than_strangers` of each kind of drawn image among the real images of its view."""
    from gen.judges.study import nearer_than_strangers

    found = {name: np.full(len(rows), np.nan) for name in names[1:]}
    for view in rows["view"].unique():
        chosen = (rows["view"] == view).to_numpy()
        real, *drawn = (read_codes(coder, rows.loc[chosen, name].to_list(), [view] * chosen.sum()) for name in names)
        for name, codes in zip(names[1:], drawn, strict=True):
            found[name][chosen] = nearer_than_strangers(codes, real, rows.loc[chosen, "patient"].to_numpy())
    return found


def _off(drawn: Sequence[str], real: Sequence[str]) -> np.ndarray:
    from gen.data.images import prepare

    pairs = zip(drawn, real, strict=True)
    return np.array([127.5 * np.abs(prepare(one, SIDE) - prepare(other, SIDE)).mean() for one, other in pairs])


def summary(views: Views, draws: int = DRAWS, seed: int = 0) -> Section:
    """View accuracy, label F1 a view, and whether the right context brings images closer to the real ones."""
    section = Section("views", "Views of one study")
    weights = cluster_counts(views.patients, draws, seed)
    shuffled = views.shuffled(seed)
    for view in ["", *sorted(set(views.asked))]:
        chosen = (views.asked == view) if view else np.ones(len(views.asked), bool)
        section.figures += _view_accuracy(views, shuffled, chosen & (views.asked != TURNED), weights, view)
        section.figures += _label_figures(views, shuffled, chosen, weights, view)
        section.figures += _closeness(views, shuffled, chosen, weights, view)
    section.tables.append(_context_table(views, shuffled, weights))
    section.verdicts.append(_verdict(section.tables[-1], context_gain(views, shuffled, weights)))
    return section


def context_gain(views: Views, shuffled: Readings, weights: np.ndarray) -> Interval:
    """Similarity to the real view with the right context less that with a wrong one, paired, by patient.

    Without images drawn from a wrong context, another patient's generated image stands for them.
    """
    wrong = views.read.get(WRONG, shuffled)
    right, other = (partial(_similarity, views, read) for read in (views.read["generated"], wrong))
    return difference(right, other, weights)


def _pair(views: Views) -> tuple[Readings, Readings]:
    return views.read["generated"], views.read["target"]


def _shown(name: str, values: list, weights: np.ndarray, chosen: np.ndarray, view: str):
    made, real, other = values
    found = estimate(made, weights)
    return as_figure(name, found, int(chosen.sum()), "", "high", float(real(None)), float(other(None)), group=view)


def _view_accuracy(views: Views, shuffled: Readings, chosen: np.ndarray, weights: np.ndarray, view: str) -> list:
    values = [partial(_accuracy, read, views.asked, chosen) for read in (*_pair(views), shuffled)]
    return [_shown("view accuracy", values, weights, chosen, view)] if chosen.any() else []


def _accuracy(read: Readings, asked: np.ndarray, chosen: np.ndarray, weights):
    return labels.rate(read.said_views() == asked, chosen, weights)


def _label_figures(views: Views, shuffled: Readings, chosen: np.ndarray, weights: np.ndarray, view: str) -> list:
    generated, target = _pair(views)
    truth = truth_matrix(views.findings, generated.labels)
    names = judged_labels(truth[chosen], generated.labels, LEAST)
    if not names:
        return []
    truth = truth[:, [generated.labels.index(name) for name in names]]
    # thresholds come from the real views of the same rows: the reader's own ceiling
    limits = np.array(
        [labels.best_threshold(target.scores([name])[chosen, 0], truth[chosen, k]) for k, name in enumerate(names)]
    )
    f1 = [partial(_macro, labels.f1, read.scores(names) >= limits, truth, chosen) for read in (*_pair(views), shuffled)]
    area = [partial(_macro, labels.auroc, read.scores(names), truth, chosen) for read in (*_pair(views), shuffled)]
    return [
        _shown("label F1", f1, weights, chosen, view),
        _shown("label AUROC", area, weights, chosen, view),
    ]


def _macro(of, scores: np.ndarray, truth: np.ndarray, chosen: np.ndarray, weights):
    return labels.macro(of, scores[chosen], truth[chosen], None if weights is None else weights[:, chosen])


def _similarity(views: Views, read: Readings, weights):
    return labels.mean(_cosines(views, read), weights)


def _cosines(views: Views, read: Readings) -> np.ndarray:
    target = views.read["target"].features
    centre = target.mean(0)  # what all radiographs share says nothing of a person
    return cosine(read.features - centre, target - centre)


def _closeness(views: Views, shuffled: Readings, chosen: np.ndarray, weights: np.ndarray, view: str) -> list:
    """How near images of a view lie to the real ones: in features, and in grey levels laid over one another."""
    made, other = (_cosines(views, read) for read in (views.read["generated"], shuffled))
    n, control = int(chosen.sum()), float(other[chosen].mean())
    figures = [as_figure(SIMILARITY, _mean_of(made, chosen, weights), n, "cosine", "high", 1.0, control, view)]
    if "generated" in views.off:
        wrong = float(views.off[WRONG][chosen].mean()) if WRONG in views.off else None
        found = _mean_of(views.off["generated"], chosen, weights)
        figures.append(as_figure(DISTANCE, found, n, "of 255", "low", 0.0, wrong, view))
    if "generated" in views.whose:
        wrong = float(np.nanmean(views.whose[WRONG][chosen])) if WRONG in views.whose else None
        figures.append(
            as_figure(WHOSE, _mean_of(views.whose["generated"], chosen, weights), n, "", "high", 1.0, wrong, view)
        )
    return figures


def _mean_of(values: np.ndarray, chosen: np.ndarray, weights: np.ndarray) -> Interval:
    return estimate(partial(labels.mean, np.where(chosen, values, np.nan)), weights)


def _context_table(views: Views, shuffled: Readings, weights: np.ndarray) -> Table:
    found = context_gain(views, shuffled, weights)
    against = "a wrong context" if WRONG in views.read else "another patient"
    if WRONG in views.read and (views.asked == TURNED).all():
        against = "another angle"
    patients = str(len(set(views.patients)))
    rows = [(against, f"{SIMILARITY}, cosine", *told(found), patients)]
    if WRONG in views.off:
        nearer = difference(*(partial(labels.mean, views.off[name]) for name in (WRONG, "generated")), weights)
        rows.append((against, "nearer to it, grey levels of 255", *told(nearer), patients))
    if WRONG in views.whose:
        found = difference(*(partial(labels.mean, views.whose[name]) for name in ("generated", WRONG)), weights)
        rows.append((against, WHOSE, *told(found), patients))
    header = ("compared with", "measure", "gain", "95 % interval", "p", "patients")
    return Table("What the right context or angle brings, paired by patient", header, rows)


def _verdict(table: Table, gain: Interval) -> Verdict:
    against = table.rows[0][0]
    words = f"to the patient's own real view than those of {against} are."
    if gain.low > 0:
        return Verdict(GOOD, f"Generated views are closer {words}")
    if gain.high < 0:
        return Verdict(BAD, f"Generated views are less close {words}")
    return Verdict(
        UNCLEAR, f"{table.rows[0][5]} patients cannot tell whether the given view decides whose image is drawn."
    )
