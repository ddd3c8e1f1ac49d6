"""How far images lie from real ones: Mahalanobis distances in feature space (MedIAnomaly's axis), and linear probes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

SHRINKAGE = 0.1  # of the covariance towards a multiple of the identity
RIDGE = 1.0  # on standardised features
FOLDS = 5


@dataclass(frozen=True)
class Distances:
    """A Gaussian fitted to features of real images. Shapes: mean [D], precision [D, D]."""

    mean: np.ndarray
    precision: np.ndarray

    @classmethod
    def fit(cls, features: np.ndarray, shrinkage: float = SHRINKAGE) -> Distances:
        """From features [N, D]; shrunk, so that N may be smaller than D."""
        covariance = np.cov(features.T).reshape(features.shape[1], -1)
        scale = np.trace(covariance) / len(covariance)
        shrunk = (1 - shrinkage) * covariance + shrinkage * scale * np.eye(len(covariance))
        return cls(features.mean(0), np.linalg.inv(shrunk))

    def of(self, features: np.ndarray) -> np.ndarray:
        """Mahalanobis distances. Shapes: [N, D] -> [N]."""
        centred = features - self.mean
        return np.sqrt(np.einsum("nd,de,ne->n", centred, self.precision, centred))


def probe(features: np.ndarray, truth: np.ndarray, clusters: np.ndarray, seed: int = 0) -> np.ndarray:
    """Scores of a linear classifier (ridge) on patients that it was not fitted to: how much features tell of `truth`.

    Shapes: [N, D], [N] bool, [N] ids -> [N].
    """
    names = np.random.default_rng([seed, 4]).permutation(np.unique(clusters.astype(str)))
    fold_of = {name: number % FOLDS for number, name in enumerate(names)}
    folds = np.array([fold_of[name] for name in clusters.astype(str)])
    scores = np.zeros(len(features))
    for fold in range(FOLDS):
        inside = folds != fold
        weights, offset = _ridge(features[inside], truth[inside].astype(float))
        scores[~inside] = features[~inside] @ weights + offset
    return scores


def _ridge(features: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, float]:
    """Weights and offset of a ridge regression on standardised features, in the features' own units."""
    mean, spread = features.mean(0), features.std(0) + 1e-9
    standard = (features - mean) / spread
    gram = standard.T @ standard + RIDGE * len(features) / 100 * np.eye(features.shape[1])
    weights = np.linalg.solve(gram, standard.T @ (targets - targets.mean())) / spread
    return weights, float(targets.mean() - mean @ weights)
