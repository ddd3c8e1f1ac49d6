"""What befalls radiographs on the way to a classifier, in three strengths: noise, blur, contrast, occlusion.

The axes along which LaDiNE judges robustness. Images are [N, H, W] uint8; the same seed gives the same damage.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.ndimage import gaussian_filter

STRENGTHS = (1, 2, 3)
NOISE = (0.05, 0.1, 0.2)  # standard deviation, in 0..1
BLUR = (0.01, 0.02, 0.04)  # standard deviation, share of the side
CONTRAST = (0.7, 0.5, 0.3)  # factor on the distance from the image's mean
OCCLUDED = (0.05, 0.15, 0.3)  # share of the area under a black square


def noise(images: np.ndarray, strength: int, generator: np.random.Generator) -> np.ndarray:
    """Add Gaussian noise."""
    return _bytes(images / 255 + generator.normal(0, NOISE[strength - 1], images.shape))


def blur(images: np.ndarray, strength: int, generator: np.random.Generator) -> np.ndarray:
    """Smooth with a Gaussian."""
    sigma = BLUR[strength - 1] * images.shape[-1]
    return _bytes(gaussian_filter(images / 255, (0, sigma, sigma)))


def contrast(images: np.ndarray, strength: int, generator: np.random.Generator) -> np.ndarray:
    """Pull grey levels towards each image's mean, then round to 8 bits."""
    means = images.mean((1, 2), keepdims=True)
    return _bytes((means + CONTRAST[strength - 1] * (images - means)) / 255)


def occlusion(images: np.ndarray, strength: int, generator: np.random.Generator) -> np.ndarray:
    """Lay a black square somewhere on each image."""
    number, height, width = images.shape
    side = round((OCCLUDED[strength - 1] * height * width) ** 0.5)
    result = images.copy()
    tops, lefts = (generator.integers(0, extent - side + 1, number) for extent in (height, width))
    for image, top, left in zip(result, tops, lefts, strict=True):
        image[top : top + side, left : left + side] = 0
    return result


CORRUPTIONS: dict[str, Callable[[np.ndarray, int, np.random.Generator], np.ndarray]] = {
    "noise": noise,
    "blur": blur,
    "contrast": contrast,
    "occlusion": occlusion,
}


def _bytes(brightness: np.ndarray) -> np.ndarray:
    return np.round(np.clip(brightness, 0, 1) * 255).astype(np.uint8)
