"""Every fidelity figure of two sets of vectors: synthetic against real, at equal numbers, with interval."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from gen.judges.frechet import Moments, frechet_distance, frechet_of_moments

from .kernels import discrepancies, over_subsets
from .manifold import NEIGHBOURS, Coverage, manifold_coverage
from .section import Better
from .stats import Interval, jackknife, members_of, percentiles, resample_weights, sample

JACKKNIFE_GROUPS = 10
KERNEL_RESAMPLES = 200
EXTRAPOLATION_SIZES = 5
BETTER: dict[str, Better] = {"Frechet distance": "low", "Frechet distance, extrapolated": "low", "KID": "low"}
BETTER |= {
    "KID over subsets": "low",
    "CMMD": "low",
    "precision": "high",
    "recall": "high",
    "density": "high",
    "coverage": "high",
}


@dataclass(frozen=True)
class Set:
    """Vectors and what varies together in them. Shapes: vectors [N, D], clusters [N]."""

    vectors: np.ndarray
    clusters: np.ndarray

    def rows(self, chosen: np.ndarray) -> Set:
        """A part of it."""
        return Set(self.vectors[chosen], self.clusters[chosen])

    def cut(self, size: int, generator: np.random.Generator) -> Set:
        """So many of its rows, drawn without replacement."""
        return self if size == len(self.vectors) else self.rows(sample(len(self.vectors), size, generator))


def compare(made: Set, real: Set, generator: np.random.Generator, intervals: bool = True) -> dict[str, Interval]:
    """All figures of one set against another of equal number; without `intervals` only the values."""
    found = {"Frechet distance": frechet_interval(made, real, generator, intervals)}
    if intervals and len(real.vectors) >= 3 * real.vectors.shape[1]:
        found["Frechet distance, extrapolated"] = extrapolated(made.vectors, real.vectors, generator)
    found |= kernel_figures(made, real, generator, intervals)
    if intervals:
        found["KID over subsets"] = over_subsets(made.vectors, real.vectors, generator)
    if min(len(made.vectors), len(real.vectors)) > NEIGHBOURS:
        found |= _coverage(manifold_coverage(real.vectors, made.vectors), made, real, generator, intervals)
    return found


def kernel_figures(made: Set, real: Set, generator: np.random.Generator, intervals: bool = True) -> dict[str, Interval]:
    """KID and CMMD, unbiased at any number."""
    weights = None
    if intervals:
        weights = tuple(resample_weights(part.clusters, KERNEL_RESAMPLES, generator) for part in (made, real))
    return discrepancies(made.vectors, real.vectors, weights)


def frechet_interval(made: Set, real: Set, generator: np.random.Generator, intervals: bool = True) -> Interval:
    """Frechet distance with the interval of a delete-a-group jackknife: a bootstrap's repeated images would bias it."""
    x, y = made.vectors, real.vectors
    if not intervals:
        return _plain(frechet_distance(x, y))
    groups = (folds(made.clusters, generator), folds(real.clusters, generator))
    if min(len(x), len(y)) < x.shape[1]:
        without = [frechet_distance(np.delete(x, g, 0), np.delete(y, h, 0)) for g, h in zip(*groups, strict=True)]
        return _not_below_zero(jackknife(np.array(without), frechet_distance(x, y)))
    a, b = ([Moments.of(part[rows]) for rows in fold] for part, fold in ((x, groups[0]), (y, groups[1])))
    kept = [(a[:g] + a[g + 1 :], b[:g] + b[g + 1 :]) for g in range(JACKKNIFE_GROUPS)]
    without = [frechet_of_moments(Moments.merged(p), Moments.merged(q)) for p, q in kept]
    return _not_below_zero(jackknife(np.array(without), frechet_of_moments(Moments.merged(a), Moments.merged(b))))


def extrapolated(x: np.ndarray, y: np.ndarray, generator: np.random.Generator) -> Interval:
    """Frechet distance at infinitely many images: a line in 1 / N through those at several N (arXiv 1911.07023).

    The interval is that of the line's intercept. Needs many more images than dimensions.
    """
    from scipy.stats import t

    size = min(len(x), len(y))
    sizes = np.linspace(max(x.shape[1] + 1, size // 3), size, EXTRAPOLATION_SIZES).astype(int)
    values = [
        frechet_distance(x[sample(len(x), n, generator)], y[sample(len(y), n, generator)]) for n in sizes.tolist()
    ]
    slope_and_value, covariance = np.polyfit(1 / sizes, values, 1, cov=True)
    reach = float(t.ppf(0.975, len(sizes) - 2) * np.sqrt(covariance[1, 1]))
    value = float(slope_and_value[1])
    return Interval(value, value - reach, value + reach)


def folds(clusters: np.ndarray, generator: np.random.Generator) -> list[np.ndarray]:
    """Rows in ten groups of whole clusters and nearly equal size, in random order."""
    members = members_of(clusters)
    parts: list[list] = [[] for _ in range(JACKKNIFE_GROUPS)]
    sizes = np.zeros(JACKKNIFE_GROUPS)
    for drawn in generator.permutation(len(members)):
        smallest = int(sizes.argmin())
        parts[smallest].append(members[drawn])
        sizes[smallest] += len(members[drawn])
    return [np.concatenate(part) if part else np.empty(0, int) for part in parts]


def jackknifed(
    statistic: Callable[[np.ndarray], float], clusters: np.ndarray, generator: np.random.Generator
) -> Interval:
    """A statistic of row numbers with its jackknife interval."""
    rows = np.arange(len(clusters))
    without = [statistic(np.delete(rows, fold)) for fold in folds(clusters, generator)]
    return jackknife(np.array(without), statistic(rows))


def _coverage(
    found: Coverage, made: Set, real: Set, generator: np.random.Generator, intervals: bool
) -> dict[str, Interval]:
    sides = {"precision": made, "density": made, "recall": real, "coverage": real}
    return {
        name: _mean(getattr(found, name), side.clusters, generator)
        if intervals
        else _plain(getattr(found, name).mean())
        for name, side in sides.items()
    }


def _mean(values: np.ndarray, clusters: np.ndarray, generator: np.random.Generator) -> Interval:
    """Mean of a row's values with the clustered percentile interval, the manifold held still."""
    weights = resample_weights(clusters, KERNEL_RESAMPLES, generator)
    draws = (weights * values[:, None]).sum(0) / weights.sum(0)
    return Interval(float(values.mean()), *percentiles(draws))


def _not_below_zero(found: Interval) -> Interval:
    return Interval(found.value, max(0.0, found.low), found.high)


def _plain(value: float) -> Interval:
    return Interval(float(value), float("nan"), float("nan"))
