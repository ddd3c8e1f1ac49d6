"""A light Frechet radiomics distance of our own: grey-level statistics and texture, no network.

Version `cxr-radiomics-1`: 84 features, on the image and on its Laplacian of Gaussian at two widths, at 128 pixels, 32
grey levels: 12 first-order (mean, deviation, skewness, kurtosis, energy, entropy, five quantiles, mean absolute
deviation) and 16 of the co-occurrence matrix (8 of Haralick, 1973, at distances 1 and 4, means of four directions).
They are z-scored by the reference set. The published FRD (Konz et al., arXiv 2412.01496) has some 464 features of
pyradiomics and takes a logarithm: its numbers are not these.
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_laplace

VERSION = "cxr-radiomics-1"
SIDE = 128  # pixels
LEVELS = 32
WIDTHS = (1.0, 3.0)  # pixels, of the Laplacians of Gaussian
DISTANCES = (1, 4)  # pixels
QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9)
EPSILON = 1e-12


def radiomics(pixels: np.ndarray) -> np.ndarray:
    """Features of every image. Shapes: [N, 128, 128] uint8 -> [N, 84] float64."""
    return np.stack([_features(image.astype(np.float32) / 255) for image in pixels])


def standardised(vectors: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """z-scores by the reference's mean and deviation. Shapes: [N, F], [M, F] -> [N, F]."""
    deviation = reference.std(0)
    return (vectors - reference.mean(0)) / np.where(deviation > EPSILON, deviation, 1)


def _features(image: np.ndarray) -> np.ndarray:
    views = [image, *(gaussian_laplace(image, width) for width in WIDTHS)]
    return np.concatenate([np.concatenate([_first_order(view), _texture(view)]) for view in views])


def _first_order(view: np.ndarray) -> np.ndarray:
    mean, deviation = float(view.mean()), float(view.std())
    z = (view - mean) / (deviation + EPSILON)
    share = np.bincount(_levels(view).ravel(), minlength=LEVELS) / view.size
    entropy = -(share * np.log2(share + EPSILON)).sum()
    moments = (mean, deviation, (z**3).mean(), (z**4).mean(), np.square(view).mean(), entropy)
    return np.array([*moments, *np.quantile(view, QUANTILES), np.abs(view - mean).mean()])


def _texture(view: np.ndarray) -> np.ndarray:
    levels = _levels(view)
    each = [[_haralick(_co_occurrence(levels, d * dy, d * dx)) for dy, dx in DIRECTIONS] for d in DISTANCES]
    return np.mean(each, axis=1).ravel()


def _levels(view: np.ndarray) -> np.ndarray:
    """Grey levels between the first and the last percentile. Shapes: [H, W] -> [H, W] int."""
    low, high = np.quantile(view, (0.01, 0.99))
    return np.clip((view - low) / (high - low + EPSILON) * LEVELS, 0, LEVELS - 1).astype(np.int64)


def _co_occurrence(levels: np.ndarray, dy: int, dx: int) -> np.ndarray:
    """Symmetric joint frequencies of the levels of pixels at this offset. Shapes: -> [L, L], sum 1."""
    height, width = levels.shape
    top, left = max(0, -dy), max(0, -dx)
    first = levels[top : height - max(0, dy), left : width - max(0, dx)]
    second = levels[top + dy : height - max(0, dy) + dy, left + dx : width - max(0, dx) + dx]
    counts = np.bincount((first * LEVELS + second).ravel(), minlength=LEVELS**2).reshape(LEVELS, LEVELS)
    return (counts + counts.T) / (2 * counts.sum())


def _haralick(p: np.ndarray) -> tuple[float, ...]:
    """Contrast, dissimilarity, homogeneity, energy, entropy, correlation, cluster shade and prominence."""
    mean = (GREY * p).sum()
    variance = (np.square(GREY - mean) * p).sum()
    around = GREY + GREY.T - 2 * mean
    return (
        (np.square(APART) * p).sum(),
        (APART * p).sum(),
        (p / (1 + np.square(APART))).sum(),
        np.square(p).sum(),
        -(p * np.log2(p + EPSILON)).sum(),
        ((GREY - mean) * (GREY.T - mean) * p).sum() / (variance + EPSILON),
        np.cbrt((around**3 * p).sum()),
        np.sqrt(np.sqrt((around**4 * p).sum())),
    )


DIRECTIONS = ((0, 1), (1, 0), (1, 1), (1, -1))
GREY = np.repeat(np.arange(LEVELS, dtype=np.float64)[:, None], LEVELS, axis=1)
APART = np.abs(GREY - GREY.T)
