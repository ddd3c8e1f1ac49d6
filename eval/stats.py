"""Intervals and tests that know that one patient's radiographs are not independent, and samples of equal size."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product

import numpy as np

LEVEL = 0.95
EXACT_UP_TO = 14  # clusters whose signs are flipped in every way rather than at random

Statistic = Callable[[np.ndarray], float]


@dataclass(frozen=True)
class Interval:
    """A value with the bounds of its 95 % interval, and the p of a difference where one is tested."""

    value: float
    low: float
    high: float
    p: float | None = None


def resamples(clusters: Sequence, times: int, generator: np.random.Generator) -> Iterator[np.ndarray]:
    """Row numbers of bootstrap samples that draw whole clusters (patients) with replacement. Shapes: clusters [N]."""
    members = members_of(clusters)
    for _ in range(times):
        yield np.concatenate([members[drawn] for drawn in generator.integers(len(members), size=len(members))])


def resample_weights(clusters: Sequence, times: int, generator: np.random.Generator) -> np.ndarray:
    """The same draws as multiplicities. Shapes: clusters [N] -> [N, times] float32."""
    number = np.unique(np.asarray(clusters, dtype=str), return_inverse=True)[1]
    count = int(number.max()) + 1
    drawn = generator.multinomial(count, np.full(count, 1 / count), size=times)  # [times, clusters]
    return drawn[:, number].T.astype(np.float32)


def members_of(clusters: Sequence) -> list[np.ndarray]:
    """Row numbers of each cluster, clusters in the order of their names."""
    number = np.unique(np.asarray(clusters, dtype=str), return_inverse=True)[1]
    order = np.argsort(number, kind="stable")
    return np.split(order, np.cumsum(np.bincount(number))[:-1])


def bootstrap(statistic: Statistic, clusters: Sequence, times: int, generator: np.random.Generator) -> Interval:
    """A statistic of row numbers with its patient-clustered percentile interval (Efron and Tibshirani, 1993).

    Resamples on which it is not a number (a class is missing) are left out; with less than half left there is none.
    """
    values = np.array([statistic(rows) for rows in resamples(clusters, times, generator)], dtype=float)
    low, high = percentiles(values)
    return Interval(float(statistic(np.arange(len(clusters)))), low, high)


def paired_bootstrap(
    first: Statistic, second: Statistic, clusters: Sequence, times: int, generator: np.random.Generator
) -> Interval:
    """`first` minus `second` on the same resamples, with interval and two-sided p of no difference."""
    difference = lambda rows: first(rows) - second(rows)  # noqa: E731
    values = np.array([difference(rows) for rows in resamples(clusters, times, generator)], dtype=float)
    low, high = percentiles(values)
    values = values[np.isfinite(values)]
    tail = min(int((values <= 0).sum()), int((values >= 0).sum()))
    p = min(1.0, 2 * (tail + 1) / (len(values) + 1))
    return Interval(float(difference(np.arange(len(clusters)))), low, high, p)


def sign_flip_test(differences: np.ndarray, clusters: Sequence, times: int, generator: np.random.Generator) -> float:
    """Two-sided p that paired differences have mean 0: signs of whole clusters are flipped. Shapes: [N]."""
    sums = np.array([differences[rows].sum() for rows in members_of(clusters)])
    if len(sums) <= EXACT_UP_TO:
        signs = np.array(list(product((-1, 1), repeat=len(sums))))
        return float((np.abs(signs @ sums) >= np.abs(sums.sum()) * (1 - 1e-12)).mean())
    signs = generator.choice((-1, 1), size=(times, len(sums)))
    extreme = int((np.abs(signs @ sums) >= np.abs(sums.sum()) * (1 - 1e-12)).sum())
    return (extreme + 1) / (times + 1)


def percentiles(values: np.ndarray, level: float = LEVEL) -> tuple[float, float]:
    """Bounds that hold the middle `level` of the finite values; NaN where fewer than half are finite."""
    finite = values[np.isfinite(values)]
    if len(finite) * 2 < len(values) or not len(finite):
        return float("nan"), float("nan")
    low, high = np.quantile(finite, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def jackknife(values: np.ndarray, whole: float) -> Interval:
    """Interval from the values without each of G groups (delete-a-group jackknife). Shapes: values [G]."""
    from scipy.stats import t

    groups = len(values)
    error = np.sqrt((groups - 1) / groups * np.square(values - values.mean()).sum())
    reach = float(t.ppf((1 + LEVEL) / 2, groups - 1) * error)
    return Interval(whole, whole - reach, whole + reach)


def share(hits: np.ndarray | Sequence[bool]) -> Interval:
    """A proportion with Wilson's interval, which stays sensible at 0 and 1 (Wilson, 1927)."""
    hits = np.asarray(hits, dtype=bool)
    n, p, z = len(hits), hits.mean(), 1.959964
    centre = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    reach = z / (1 + z**2 / n) * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    return Interval(float(p), max(0.0, float(centre - reach)), min(1.0, float(centre + reach)))


def sample(count: int, size: int, generator: np.random.Generator) -> np.ndarray:
    """`size` of `count` row numbers without replacement, ascending."""
    return np.sort(generator.choice(count, size=size, replace=False))


def equal_numbers(first: int, second: int, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Rows of two sets cut to the size of the smaller one."""
    size = min(first, second)
    return sample(first, size, generator), sample(second, size, generator)


def halves(clusters: Sequence, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Two halves of nearly equal size that share no cluster (patient)."""
    members = members_of(clusters)
    sides: tuple[list, list] = ([], [])
    sizes = [0, 0]
    for drawn in generator.permutation(len(members)):
        smaller = int(sizes[1] < sizes[0])
        sides[smaller].append(members[drawn])
        sizes[smaller] += len(members[drawn])
    size = min(sizes)
    return tuple(
        np.sort(generator.permutation(np.concatenate(side))[:size]) if side else np.empty(0, int) for side in sides
    )


def correlation(a: np.ndarray, b: np.ndarray, counts: np.ndarray, given: np.ndarray | None = None) -> np.ndarray:
    """Pearson's, each row counted as often as each resampling drew it; nan where nothing varies.

    With `given` the partial correlation: of what a linear fit on it leaves of both. Shapes: [N], counts [D, N] -> [D].
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        covariance = partial(_covariance, counts / counts.sum(1, keepdims=True), given)
        spread = covariance(a, a) * covariance(b, b)
        return np.where(spread > 1e-12, covariance(a, b) / np.sqrt(np.maximum(spread, 1e-12)), np.nan)


def _covariance(share: np.ndarray, given: np.ndarray | None, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    whole = share @ (a * b) - (share @ a) * (share @ b)
    if given is None:
        return whole
    plain = partial(_covariance, share, None)
    return whole - plain(a, given) * plain(b, given) / plain(given, given)
