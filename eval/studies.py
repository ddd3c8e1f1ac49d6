"""Studies drawn from words: do their views belong to one patient?

A ridge regression learns, from true studies of the training split, a reader's features of the second view given those
of the first. Then every drawn first view foretells its second one: how often is the study's own nearer to what was
foretold than another study's is (chance: 0.5)? True studies of the other splits are the ceiling; the control are second
views drawn of the same words and seed without the first, which share with it whatever words and noise tell.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from gen.errors import UserError

from . import labels
from .readings import Judge, read_files
from .resampling import DRAWS, as_figure, cluster_counts, difference, estimate, told
from .section import BAD, GOOD, UNCLEAR, Section, Table, Verdict
from .stats import Interval
from .study_codes import read_codes
from .tables import read_pairs

if TYPE_CHECKING:
    from gen.judges.study import StudyJudge

IMAGES = ("first", "second", "second_alone")
COLUMNS = ("first_view", "second_view", "patient")
MATCH = "own view is nearer than another study's"
RIDGES = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)  # times the number of features
LEAST = 20  # true studies, below which nothing is learned of them


@dataclass(frozen=True)
class Matches:
    """Shares of other studies whose second view lies further from what the first foretells than the own one does.

    Shapes: together, alone, patients [N] of drawn studies; real [M] of true ones.
    """

    patients: np.ndarray
    together: np.ndarray
    alone: np.ndarray
    real: np.ndarray


class Foretelling:
    """Ridge regression of second views' features on first views', standardised; the ridge is the best left out."""

    def __init__(self, first: np.ndarray, second: np.ndarray) -> None:
        self.scales = [one.std(0) + 1e-6 for one in (first, second)]
        x, y = (_centred(one, scale) for one, scale in zip((first, second), self.scales, strict=True))
        kernel = x @ x.T
        errors = {ridge: _left_out(kernel, y, ridge * x.shape[1]) for ridge in RIDGES}
        ridge = min(errors, key=errors.__getitem__) * x.shape[1]
        self.weights = x.T @ np.linalg.solve(kernel + ridge * np.eye(len(x)), y)

    def shares(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """For each study, the share of others whose second view is less like what its first foretells. [N, D] -> [N].

        Likeness is the cosine, of what sets an image apart from the others of its set; ties count half.
        """
        x, y = (_centred(one, scale) for one, scale in zip((first, second), self.scales, strict=True))
        foretold, seen = _units(x @ self.weights), _units(y)
        likeness = foretold @ seen.T
        own = likeness.diagonal()[:, None]
        wins = (own > likeness).sum(1) + ((own == likeness).sum(1) - 1) / 2
        return wins / (len(likeness) - 1)


def measure_studies(
    table: str | Path, real: Path, judge: Judge, draws: int = DRAWS, seed: int = 0, coder: StudyJudge | None = None
) -> Section:
    """Judge a table of `cxr-sample studies` by the true studies of an index, or by a coder, which need not learn first.

    Errors: UserError for too few true studies to learn from.
    """
    rows = read_pairs(table, IMAGES, COLUMNS)
    section = Section("studies", "Studies drawn from words")
    for views, part in rows.groupby(["first_view", "second_view"], sort=False):
        true = true_studies(real, *views)
        if coder is None:
            _check_learnable(true, real, views)
        matches = matches_of(part, true, judge) if coder is None else coded_matches(part, true, coder, views)
        summarise(section, matches, ", ".join(views), draws, seed)
    return section


def true_studies(index: Path, first: str, second: str) -> pd.DataFrame:
    """An image of either view of every study that has both: columns first, second, split."""
    from gen.data.index import read_index

    study = ["patient_id", "study_id", "split"]
    rows = read_index(index).drop_duplicates([*study, "view"])
    one, other = (rows.loc[rows["view"] == view, [*study, "image"]] for view in (first, second))
    return one.rename(columns={"image": "first"}).merge(other.rename(columns={"image": "second"}), on=study)


def _check_learnable(true: pd.DataFrame, index: Path, views: tuple[str, str]) -> None:
    known = int((true["split"] == "train").sum())
    if known < LEAST:
        raise UserError(f"{index}: {known} training studies with {' and '.join(views)}; at least {LEAST} are needed")


def matches_of(drawn: pd.DataFrame, true: pd.DataFrame, judge: Judge) -> Matches:
    """Learn from the true studies' training split, and match drawn and other true ones."""
    held_out = true["split"] != "train"
    first, second = (read_files(judge, true[side], f"true {side}").features for side in ("first", "second"))
    learned = Foretelling(first[~held_out], second[~held_out])
    parts = {side: read_files(judge, drawn[side], side).features for side in IMAGES}
    shares = [learned.shares(parts["first"], parts[side]) for side in IMAGES[1:]]
    real = learned.shares(first[held_out], second[held_out]) if held_out.sum() > 1 else np.array([np.nan])
    return Matches(drawn["patient"].to_numpy(), *shares, real)


def coded_matches(drawn: pd.DataFrame, true: pd.DataFrame, judge: StudyJudge, views: tuple[str, str]) -> Matches:
    """Match by the codes of views, those of true studies that were held out."""
    from gen.judges.study import nearer_than_strangers

    true = true[true["split"] != "train"]

    def codes(rows: pd.DataFrame, side: str) -> np.ndarray:
        return read_codes(judge, rows[side].to_list(), [views[side != "first"]] * len(rows))

    first, own, real = codes(drawn, "first"), np.arange(len(drawn)), np.array([np.nan])
    if len(true) > 1:
        real = nearer_than_strangers(codes(true, "first"), codes(true, "second"), true["patient_id"].to_numpy())
    shares = (nearer_than_strangers(first, codes(drawn, side), own) for side in IMAGES[1:])
    return Matches(drawn["patient"].to_numpy(), *shares, real)


def summarise(section: Section, matches: Matches, group: str, draws: int = DRAWS, seed: int = 0) -> None:
    """Put the figures of one pair of views into a section."""
    weights, n = cluster_counts(matches.patients, draws, seed), len(matches.patients)
    together, alone = (partial(labels.mean, values) for values in (matches.together, matches.alone))
    found, gain = estimate(together, weights), difference(together, alone, weights)
    ceiling = float(np.mean(matches.real))
    section.figures.append(
        as_figure(MATCH, found, n, "", "high", None if np.isnan(ceiling) else ceiling, float(alone(None)), group)
    )
    header = ("views", "drawn together", "drawn alone", "true studies", "together less alone", "95 % interval", "p")
    row = (group, f"{found.value:.3f}", f"{alone(None):.3f}", f"{ceiling:.3f}", *told(gain))
    section.tables.append(Table(f"{MATCH.capitalize()}, {n} studies", header, [row]))
    section.verdicts.append(_verdict(group, found, gain))


def _verdict(group: str, found: Interval, gain: Interval) -> Verdict:
    shown = f"{found.value:.2f} against {found.value - gain.value:.2f} of views drawn alone (chance: 0.5)"
    if found.low > 0.5 and gain.low > 0:
        return Verdict(GOOD, f"{group}: views drawn together are told to be of one patient, {shown}.")
    kind = BAD if gain.high < 0 else UNCLEAR
    return Verdict(kind, f"{group}: views drawn together are not certainly told to be of one patient, {shown}.")


def _centred(features: np.ndarray, scale: np.ndarray) -> np.ndarray:
    return (features - features.mean(0)) / scale


def _units(features: np.ndarray) -> np.ndarray:
    return features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)


def _left_out(kernel: np.ndarray, y: np.ndarray, ridge: float) -> float:
    """Mean square of what a ridge regression misses of each row that it did not see."""
    hat = kernel @ np.linalg.inv(kernel + ridge * np.eye(len(kernel)))
    return float(np.square((y - hat @ y) / (1 - hat.diagonal())[:, None]).mean())
