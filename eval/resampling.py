"""Figures that take weights: intervals and paired tests of them by one resampling of patients for all."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from .section import Better, Figure
from .stats import Interval, percentiles, resample_weights

DRAWS = 1000


def cluster_counts(clusters: Sequence | np.ndarray, draws: int = DRAWS, seed: int = 0) -> np.ndarray:
    """How often each row stands in each resampling of its clusters (patients).

    Shapes: [N] ids -> [draws, N]. Rows of a cluster come and go together.
    """
    if len(clusters) == 0:
        return np.zeros((draws, 0))
    return resample_weights(clusters, draws, np.random.default_rng(seed)).T.astype(float)


def estimate(figure: Callable, weights: np.ndarray) -> Interval:
    """A figure with its percentile interval. `figure(weights or None)` gives [B] or a float."""
    return Interval(float(figure(None)), *percentiles(np.asarray(figure(weights))))


def difference(first: Callable, second: Callable, weights: np.ndarray) -> Interval:
    """`first - second` on the same resamplings: a paired test; p is twice the smaller share beyond zero."""
    drawn = np.asarray(first(weights)) - np.asarray(second(weights))
    return Interval(float(first(None)) - float(second(None)), *percentiles(drawn), p=p_value(drawn))


def p_value(drawn: np.ndarray) -> float:
    """Two-sided p of "no difference" from resampled differences, never below 2 / (draws + 1)."""
    known = drawn[np.isfinite(drawn)]
    if len(known) == 0:
        return float("nan")
    beyond = min((known <= 0).sum(), (known >= 0).sum())
    return float(min(1.0, 2 * (beyond + 1) / (len(known) + 1)))


def as_figure(
    name: str,
    found: Interval,
    n: int,
    unit: str = "",
    better: Better = "",
    floor: float | None = None,
    control: float | None = None,
    group: str = "",
) -> Figure:
    """An interval as a report's figure; bounds that cannot be told are none."""
    low, high = (None if np.isnan(bound) else bound for bound in (found.low, found.high))
    return Figure(name, found.value, low, high, n, unit, better, floor, control, group)


def told(found: Interval, form: str = "+.3f") -> tuple[str, str, str]:
    """A difference as cells of a table: value, interval, p."""
    p = float("nan") if found.p is None else found.p
    return f"{found.value:{form}}", f"{found.low:{form}} to {found.high:{form}}", f"{p:.3g}"
