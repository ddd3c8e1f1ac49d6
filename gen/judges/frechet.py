"""The Frechet distance between two sets of vectors, from moments that add up over shards."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

ROWS = 8192  # rows whose products are summed at once


@dataclass(frozen=True)
class Moments:
    """Count, mean and scatter of vectors. Shapes: mean [D], scatter [D, D] float64, the sum of centred products.

    Moments of shards are merged, never their distances averaged: the distance is no mean over images.
    """

    count: int
    mean: np.ndarray
    scatter: np.ndarray

    @classmethod
    def of(cls, vectors: np.ndarray) -> Moments:
        """Shapes: [N, D] -> moments, summed in float64."""
        centre = vectors.mean(0, dtype=np.float64)
        scatter = np.zeros((vectors.shape[1],) * 2)
        for start in range(0, len(vectors), ROWS):
            centred = vectors[start : start + ROWS] - centre
            scatter += centred.T @ centred
        return cls(len(vectors), centre, scatter)

    @classmethod
    def merged(cls, shards: Iterable[Moments]) -> Moments:
        """Moments of all shards together (Chan, Golub and LeVeque, 1979)."""
        shards = [shard for shard in shards if shard.count]
        count = sum(shard.count for shard in shards)
        mean = sum(shard.count * shard.mean for shard in shards) / count
        between = ((shard.count, shard.mean - mean) for shard in shards)
        return cls(count, mean, sum(s.scatter for s in shards) + sum(n * np.outer(d, d) for n, d in between))

    @property
    def covariance(self) -> np.ndarray:
        """Unbiased. Shapes: -> [D, D]."""
        return self.scatter / (self.count - 1)


def frechet_of_moments(a: Moments, b: Moments) -> float:
    """Frechet distance of Gaussians with these moments (Dowson and Landau, 1982; squared, as the FID is)."""
    values, vectors = np.linalg.eigh(a.covariance)
    root = (vectors * np.sqrt(values.clip(0))) @ vectors.T
    # trace of (A B)^(1/2) from the symmetric product, which stays real where few samples make A singular
    cross = np.sqrt(np.linalg.eigvalsh(root @ b.covariance @ root).clip(0)).sum()
    spread = (np.trace(a.scatter) / (a.count - 1)) + (np.trace(b.scatter) / (b.count - 1))
    return float(np.square(a.mean - b.mean).sum() + spread - 2 * cross)


def frechet_distance(a: np.ndarray, b: np.ndarray) -> float:
    """The same from two samples; with fewer vectors than dimensions at the cost of the vectors. Shapes: [N, D], [M, D].

    trace (A B)^(1/2) is then the sum of the singular values of the product of the centred samples.
    """
    if min(len(a), len(b)) >= a.shape[1]:
        return frechet_of_moments(Moments.of(a), Moments.of(b))
    mean_a, mean_b = a.mean(0, dtype=np.float64), b.mean(0, dtype=np.float64)
    x, y = (a - mean_a) / np.sqrt(len(a) - 1), (b - mean_b) / np.sqrt(len(b) - 1)
    cross = np.linalg.svd(x @ y.T, compute_uv=False).sum()
    return float(np.square(mean_a - mean_b).sum() + np.square(x).sum() + np.square(y).sum() - 2 * cross)
