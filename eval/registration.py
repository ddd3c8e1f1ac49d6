"""Whether two radiographs are one exposure: details compared after turning, zooming and moving one onto the other."""

from __future__ import annotations

from itertools import product

import numpy as np

from gen.data.duplicates import FINE_SIGMA, SHIFT
from gen.data.looks import local_contrast

from .alterations import turned

TURNS, ZOOMS = (-5.0, -2.5, 0.0, 2.5, 5.0), (0.94, 0.97, 1.0, 1.03, 1.06)  # degrees, times
# of 500 pairs of NIH radiographs of two patients that features find alike none reaches 0.82; of 300 pairs of other
# exposures of one patient 1 % reach 0.85
ONE_EXPOSURE = 0.86


def details_after_turning(image: np.ndarray) -> np.ndarray:
    """Spectra of an image's local contrast in every position. Shapes: [S, S] uint8 -> [T, S, S // 2 + 1] complex."""
    poses = np.stack([turned(image, degrees, scale) for degrees, scale in product(TURNS, ZOOMS)])
    return np.fft.rfft2(local_contrast(poses / 255, FINE_SIGMA))


def best_correlation(spectra: np.ndarray, other: np.ndarray) -> float:
    """Correlation of details in the best position and at the best shift.

    Shapes: spectra of `details_after_turning`, other [S, S] uint8.
    """
    fine = local_contrast(other[None].astype(np.float32) / 255, FINE_SIGMA)
    products = np.fft.irfft2(spectra * np.conj(np.fft.rfft2(fine)), other.shape)
    near = np.r_[0 : SHIFT + 1, -SHIFT:0]
    return float(products[:, near][:, :, near].max())


def registered(queries: np.ndarray, references: np.ndarray, candidates: np.ndarray) -> list[tuple[int, int, float]]:
    """(query, reference, correlation) of the candidates that are one exposure with their query.

    Shapes: queries [N, S, S], references [M, S, S] uint8, candidates [N, k] rows of the references.
    """
    found = []
    for row, (image, places) in enumerate(zip(queries, candidates, strict=True)):
        spectra = details_after_turning(image)
        scores = [best_correlation(spectra, references[place]) for place in places]
        found += [(row, int(p), score) for p, score in zip(places, scores, strict=True) if score >= ONE_EXPOSURE]
    return found
