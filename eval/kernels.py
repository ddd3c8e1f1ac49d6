"""Maximum mean discrepancies: unbiased at any number of images, in blocks, with intervals from the same pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .stats import Interval, percentiles

BLOCK = 2048  # rows of a product: 16 MB of kernel values
DOUBLE_UP_TO = 1500  # images of a set: below, double precision costs nothing
CMMD_WIDTH = 10.0  # of the Gaussian kernel (Jayasumana et al., arXiv 2401.09603)
CMMD_SCALE = 1000.0
SUBSET, SUBSETS = 1000, 20  # images of a subset, subsets

# inner products [a, b], squared lengths [a, 1] and [1, b], dimensions -> kernel values [a, b]
Kernel = Callable[[Tensor, Tensor, Tensor, int], Tensor]


def cubic(products: Tensor, a: Tensor, b: Tensor, width: int) -> Tensor:
    """The kernel of the KID, (x . y / D + 1)^3 (Binkowski et al., arXiv 1801.01401)."""
    base = products / width + 1
    return base * base * base


def gaussian_of_units(products: Tensor, a: Tensor, b: Tensor, width: int) -> Tensor:
    """The kernel of the CMMD: exp(-|x - y|^2 / (2 width^2)) of vectors made unit length, times its scale."""
    cosine = products / (a * b).sqrt().clamp_min(1e-12)
    return torch.exp((cosine - 1) / CMMD_WIDTH**2) * CMMD_SCALE


KERNELS: dict[str, Kernel] = {"KID": cubic, "CMMD": gaussian_of_units}


@dataclass(frozen=True)
class Weights:
    """Multiplicities of bootstrap resamples, the plain sample first. Shapes: [N, 1 + B]."""

    values: Tensor

    @classmethod
    def of(cls, drawn: np.ndarray | None, count: int, dtype: torch.dtype) -> Weights:
        """Shapes: drawn [N, B] or None."""
        ones = torch.ones(count, 1, dtype=dtype)
        return cls(ones if drawn is None else torch.cat([ones, torch.from_numpy(drawn).to(dtype)], dim=1))


def discrepancies(
    x: np.ndarray,
    y: np.ndarray,
    weights: tuple[np.ndarray, np.ndarray] | None = None,
    kernels: Mapping[str, Kernel] = KERNELS,
) -> dict[str, Interval]:
    """Squared MMDs of two sets, unbiased (Gretton et al., 2012), with percentile intervals where `weights` are given.

    One product of the vectors serves all kernels. A resampled image never meets its own copy, which would add a
    bias. Shapes: x [N, D], y [M, D], weights [N, B], [M, B].
    """
    double = max(len(x), len(y)) <= DOUBLE_UP_TO
    a, b = (
        torch.from_numpy(np.ascontiguousarray(part)).to(torch.float64 if double else torch.float32) for part in (x, y)
    )
    drawn = weights or (None, None)
    v, w = Weights.of(drawn[0], len(a), a.dtype), Weights.of(drawn[1], len(b), b.dtype)
    shift = {name: _typical(a, b, kernel) for name, kernel in kernels.items()}
    within_a, within_b = (_within(part, each.values, kernels, shift) for part, each in ((a, v), (b, w)))
    between = _between(a, b, v.values, w.values, kernels, shift)
    return {name: _interval(within_a[name] + within_b[name] - 2 * between[name]) for name in kernels}


def over_subsets(x: np.ndarray, y: np.ndarray, generator: np.random.Generator) -> Interval:
    """The KID as it is usually reported: mean and middle 95 % over random subsets of at most half the images.

    Shapes: [N, D], [M, D].
    """
    size = min(SUBSET, len(x) // 2, len(y) // 2)
    found = []
    for _ in range(SUBSETS):
        a, b = (part[generator.choice(len(part), size, replace=False)] for part in (x, y))
        found.append(discrepancies(a, b, kernels={"KID": cubic})["KID"].value)
    return Interval(float(np.mean(found)), *percentiles(np.array(found)))


def _typical(a: Tensor, b: Tensor, kernel: Kernel) -> float:
    """A constant near the kernel's values: it cancels in the discrepancy and takes the rounding error with it."""
    a, b = a[:256], b[:256]
    return float(kernel(a @ b.T, a.square().sum(1)[:, None], b.square().sum(1)[None], a.shape[1]).mean())


def _within(x: Tensor, weights: Tensor, kernels: Mapping[str, Kernel], shift: Mapping[str, float]) -> dict[str, Tensor]:
    """Weighted means of the kernel over pairs of different images of one set. Shapes: -> [1 + B] each."""
    totals = {name: torch.zeros(weights.shape[1], dtype=torch.float64) for name in kernels}
    for start in range(0, len(x), BLOCK):
        for name, values, other in _rows(x[start : start + BLOCK], x, start, kernels, shift):
            part, here = weights[other : other + BLOCK], weights[start : start + BLOCK]
            if other == start:
                values.fill_diagonal_(0)
            sums = (here * (values @ part)).double().sum(0)
            totals[name] += sums if other == start else 2 * sums
    pairs = weights.double().sum(0).square() - weights.double().square().sum(0)
    return {name: total / pairs for name, total in totals.items()}


def _between(
    x: Tensor, y: Tensor, v: Tensor, w: Tensor, kernels: Mapping[str, Kernel], shift: Mapping[str, float]
) -> dict[str, Tensor]:
    totals = {name: torch.zeros(v.shape[1], dtype=torch.float64) for name in kernels}
    for start in range(0, len(x), BLOCK):
        for name, values, other in _rows(x[start : start + BLOCK], y, 0, kernels, shift):
            totals[name] += (v[start : start + BLOCK] * (values @ w[other : other + BLOCK])).double().sum(0)
    pairs = v.double().sum(0) * w.double().sum(0)
    return {name: total / pairs for name, total in totals.items()}


def _rows(
    part: Tensor, others: Tensor, first: int, kernels: Mapping[str, Kernel], shift: Mapping[str, float]
) -> Iterator[tuple[str, Tensor, int]]:
    """Shifted kernel values of one block of rows with all blocks from `first` on."""
    lengths = part.square().sum(1)[:, None]
    for start in range(first, len(others), BLOCK):
        block = others[start : start + BLOCK]
        products = part @ block.T
        for name, kernel in kernels.items():
            yield name, kernel(products, lengths, block.square().sum(1)[None], part.shape[1]) - shift[name], start


def _interval(draws: Tensor) -> Interval:
    """Percentiles of the resamples about their own mean: images of one patient meet oftener there than in truth."""
    value, resampled = float(draws[0]), draws[1:].numpy()
    if not len(resampled):
        return Interval(value, float("nan"), float("nan"))
    low, high = percentiles(resampled - resampled.mean() + value)
    return Interval(value, low, high)
