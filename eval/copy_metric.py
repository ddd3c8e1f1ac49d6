"""A distance of features to which a copy stays close: the directions in which copies move count little.

Features that were learnt for diseases move more when a radiograph is saved at half its size than from one patient to
another. Within-class covariance normalisation (Hatch, Kajarekar and Stolcke, Interspeech 2006), the class being one
exposure and its altered copies, takes that out.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .alterations import altered

IMAGES, TIMES = 128, 2  # altered to learn from, and how often each
SHRINKAGE = 0.03  # towards equal variances


def copy_metric(
    images: np.ndarray, features: Callable[[np.ndarray], np.ndarray], generator: np.random.Generator
) -> np.ndarray:
    """A matrix W; x @ W are features whose Euclidean distance forgives what happens to copies.

    Shapes: images [N, S, S] uint8, features [N, S, S] -> [N, D]; -> [D, D] float32.
    """
    there = features(images)
    moved = np.concatenate([features(altered(images, generator)) - there for _ in range(TIMES)]).astype(np.float64)
    covariance = moved.T @ moved / len(moved)
    width = len(covariance)
    covariance += SHRINKAGE * max(np.trace(covariance) / width, 1e-12) * np.eye(width)
    values, vectors = np.linalg.eigh(covariance)
    return (vectors / np.sqrt(values)).astype(np.float32)
