"""Intervals and tests by resampling patients, or pairs, with replacement: whoever has many images counts once as one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .section import Better, Figure

DRAWS = 1000
LEVEL = 0.95


@dataclass(frozen=True)
class Estimate:
    """A figure, its 95 % interval (NaN where it cannot be told) and, of a difference, its two-sided p-value."""

    value: float
    low: float = float("nan")
    high: float = float("nan")
    p: float = float("nan")


def cluster_counts(clusters, draws: int = DRAWS, seed: int = 0) -> np.ndarray:
    """How often each row stands in each resampling of its clusters (patients).

    Shapes: [N] ids -> [draws, N] integers. Rows of a cluster come and go together.
    """
    _, member = np.unique(np.asarray(clusters).astype(str), return_inverse=True)
    number = int(member.max()) + 1 if len(member) else 0
    if number == 0:
        return np.zeros((draws, 0))
    generator = np.random.default_rng(seed)
    return generator.multinomial(number, np.full(number, 1 / number), size=draws)[:, member]


def estimate(figure: Callable, weights: np.ndarray) -> Estimate:
    """A figure with its percentile interval. `figure(weights or None)` gives [B] or a float."""
    return Estimate(float(figure(None)), *interval(figure(weights)))


def difference(first: Callable, second: Callable, weights: np.ndarray) -> Estimate:
    """`first - second` on the same resamplings: a paired test; p is twice the smaller share beyond zero."""
    drawn = np.asarray(first(weights)) - np.asarray(second(weights))
    return Estimate(float(first(None)) - float(second(None)), *interval(drawn), p=p_value(drawn))


def interval(drawn: np.ndarray) -> tuple[float, float]:
    """The middle 95 % of resampled figures; NaN where fewer than half of them are defined."""
    known = drawn[np.isfinite(drawn)]
    if len(known) < max(2, len(drawn) / 2):
        return float("nan"), float("nan")
    low, high = np.quantile(known, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def p_value(drawn: np.ndarray) -> float:
    """Two-sided p of "no difference" from resampled differences, never below 2 / (draws + 1)."""
    known = drawn[np.isfinite(drawn)]
    if len(known) == 0:
        return float("nan")
    beyond = min((known <= 0).sum(), (known >= 0).sum())
    return float(min(1.0, 2 * (beyond + 1) / (len(known) + 1)))


def figure(
    name: str,
    found: Estimate,
    n: int,
    unit: str = "",
    better: Better = "",
    floor: float | None = None,
    control: float | None = None,
    group: str = "",
) -> Figure:
    """An estimate as a report's figure; an interval that cannot be told is none."""
    low, high = (None if np.isnan(bound) else bound for bound in (found.low, found.high))
    return Figure(name, found.value, low, high, n, unit, better, floor, control, group)
