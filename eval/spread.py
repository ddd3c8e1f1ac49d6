"""Several futures of one prior: does their pixelwise deviation tell where, and by how much, they are wrong?

From the table of `cxr-sample follow-ups --futures K`, whose columns generated, generated_2 ... generated_K are drawings
of one pair by unlike seeds. The deviation map is what `pipe.predict` hands out; the error that it should foretell is
that of the model's mean against the true follow-up: the squared error of K drawings' mean, less their variance / K,
which is owed to their small number and would follow the map in any case. The control is the map of another patient.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

from gen.errors import UserError

from . import labels
from .readings import load_pixels, other_rows
from .resampling import DRAWS, as_figure, cluster_counts, difference, estimate, told
from .section import BAD, GOOD, UNCLEAR, Section, Table, Verdict
from .stats import Interval
from .tables import read_pairs

COLUMN = re.compile(r"generated(_\d+)?")
SIDE = 128  # pixels of the maps that are compared: a pixel's own noise says nothing of a finding
LEVEL = 0.95
FAIR = (0.8, 1.25)  # of the ratio
CORRELATION = "correlation of variance and squared error over the pixels of an image"
AMONG = "rank correlation of variance and squared error among images"
RATIO = "deviation over error"
COVERED = f"true pixels within the {LEVEL:.0%} interval"
OF_MEAN, OF_ONE = "error of the mean", "error of one drawing"


@dataclass(frozen=True)
class Spread:
    """N pairs of K drawings each, in brightness of 0..1.

    `own` and `other` correlate the squared error's map with the variance's and with another patient's; `covered` is a
    share of pixels; `variance` and `square` (of the error) are means of the maps, `one` and `mean` absolute errors.
    Shapes: all [N].
    """

    patients: np.ndarray
    futures: int
    own: np.ndarray
    other: np.ndarray
    covered: np.ndarray
    variance: np.ndarray
    square: np.ndarray
    one: np.ndarray
    mean: np.ndarray


def measure_spread(table: str | Path, draws: int = DRAWS, seed: int = 0) -> Section:
    """Judge a table of several futures a pair. Errors: UserError for a table with one future a pair."""
    rows = read_pairs(table, ("target", "generated"), ("patient",), more="generated")
    columns = [name for name in rows if COLUMN.fullmatch(name)]
    if len(columns) < 2:
        raise UserError(f"{table}: one future a pair; draw several with cxr-sample follow-ups --futures 8")
    return summary(spread_of(rows, columns, seed), draws, seed)


def spread_of(rows: pd.DataFrame, columns: Sequence[str], seed: int = 0) -> Spread:
    """Compare the drawings in `columns` of each row with its target."""
    from scipy.stats import t

    count, patients = len(columns), rows["patient"].to_numpy()
    reach = t.ppf((1 + LEVEL) / 2, count - 1) * np.sqrt(1 + 1 / count)
    found, variances, squares = [], [], []
    for row in tqdm(rows.to_dict("records"), desc="pairs", unit="", disable=None):
        truth, *drawn = load_pixels([row["target"], *(row[name] for name in columns)], SIDE) / 255.0
        variance, error = np.var(drawn, axis=0, ddof=1), np.abs(np.mean(drawn, axis=0) - truth)
        square = np.square(error) - variance / count
        covered = (error <= reach * np.sqrt(variance)).mean()
        one = np.mean([np.abs(single - truth).mean() for single in drawn])
        found.append((covered, variance.mean(), square.mean(), one, error.mean()))
        variances.append(variance.astype(np.float32))
        squares.append(square.astype(np.float32))
    others = other_rows(patients, seed)
    own = np.array([_alike(one, error) for one, error in zip(variances, squares, strict=True)])
    other = np.array([_alike(variances[k], error) for k, error in zip(others, squares, strict=True)])
    return Spread(patients, count, own, other, *np.array(found).T)


def summary(spread: Spread, draws: int = DRAWS, seed: int = 0) -> Section:
    """Where, how much, and for which pairs the deviation foretells the error, by patient-clustered bootstrap."""
    section = Section("spread", "Several futures of one prior")
    weights, n = cluster_counts(spread.patients, draws, seed), len(spread.patients)
    own, other = (partial(labels.mean, values) for values in (spread.own, spread.other))
    gain = difference(own, other, weights)
    section.figures = [
        as_figure(CORRELATION, estimate(own, weights), n, "", "high", control=float(other(None))),
        as_figure(AMONG, estimate(partial(_among, spread), weights), n, "", "high", control=0.0),
        as_figure(RATIO, estimate(partial(_ratio, spread), weights), n, "", "", floor=1.0),
        as_figure(COVERED, estimate(partial(labels.mean, spread.covered), weights), n, "", "high", floor=LEVEL),
    ]
    for name, values in ((OF_MEAN, spread.mean), (OF_ONE, spread.one)):
        found = estimate(partial(labels.mean, 255 * values), weights)
        section.figures.append(as_figure(name, found, n, "grey levels of 255", "low"))
    header = ("deviation's map", "figure", "gain", "95 % interval", "p")
    rows = [("own less another patient's", CORRELATION, *told(gain))]
    section.tables.append(Table("Whose error a map foretells", header, rows))
    section.verdicts.append(_verdict(section, gain))
    section.notes.append(
        f"{n} pairs of {len(set(spread.patients))} patients, {spread.futures} futures each. The squared error is freed "
        f"of what the mean of so few is off by chance. {RATIO.capitalize()}: root of mean variance over mean squared "
        f"error; below 1 the futures are too much alike. A pixel's interval is Student's, of {spread.futures} drawings."
    )
    return section


def _alike(first: np.ndarray, second: np.ndarray) -> float:
    a, b = (values - values.mean() for values in (first, second))
    scale = float(np.sqrt((a * a).sum() * (b * b).sum()))
    return float((a * b).sum() / scale) if scale > 0 else 0.0


def _ratio(spread: Spread, weights: np.ndarray | None):
    variance, square = (labels.mean(values, weights) for values in (spread.variance, spread.square))
    return np.sqrt(variance / np.maximum(square, 1e-12))


def _among(spread: Spread, weights: np.ndarray | None):
    from scipy.stats import rankdata

    from .stats import correlation

    ranks = [rankdata(values) for values in (spread.variance, spread.square)]
    counts = np.ones((1, len(ranks[0]))) if weights is None else weights
    found = correlation(*ranks, counts)
    return float(found[0]) if weights is None else found


def _verdict(section: Section, gain: Interval) -> Verdict:
    where, ratio = section.figure(CORRELATION), section.figure(RATIO)
    size = f"and is {ratio.value:.2f} of it in size"
    if not gain.low > 0:
        return Verdict(BAD, f"The deviation of futures foretells their error no better than another patient's, {size}.")
    shown = f"r {where.value:.2f}, another's map {where.control:.2f}"
    words = f"The deviation of futures follows their error pixel by pixel ({shown}) {size}."
    return Verdict(GOOD if FAIR[0] <= ratio.value <= FAIR[1] else UNCLEAR, words)
