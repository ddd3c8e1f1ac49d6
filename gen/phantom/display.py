"""From the detector's signal to grey levels, as a digital system shows them: bright bone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter, zoom

FLOOR = 1e-5  # signal below which the detector sees nothing


@dataclass(frozen=True)
class Display:
    """How one image is shown.

    latitude: share of the coarse contrast that is taken out; detail: gain of edges; low, high: quantiles within the
    body shown as black (less a margin, a share of their distance) and white; gamma: exponent; toe: softness of the
    ends; white: the brightest grey level, 0..1.
    """

    latitude: float = 0.35
    detail: float = 0.4
    low: float = 0.03
    high: float = 0.90
    margin: float = 0.15
    gamma: float = 1.0
    toe: float = 0.22
    white: float = 0.92


def optical(signal: np.ndarray) -> np.ndarray:
    """Attenuation as the detector sees it, -log(signal)."""
    return -np.log(np.maximum(signal, FLOOR))


def processed(attenuation: np.ndarray, display: Display) -> np.ndarray:
    """Coarse contrast lowered and edges raised; linear, so that a sum of images stays one. Shapes: [H, W] -> [H, W]."""
    coarse = _blurred(attenuation, attenuation.shape[0] / 9)
    fine = gaussian_filter(attenuation, attenuation.shape[0] / 110, truncate=3)
    return attenuation - display.latitude * coarse + display.detail * (attenuation - fine)


def window(image: np.ndarray, body: np.ndarray, display: Display) -> tuple[float, float]:
    """Processed values shown as black and white, from quantiles within the body's shadow, thinned out fourfold."""
    values = image[::4, ::4][body[::4, ::4]]
    low, high = np.quantile(values if values.size else image, [display.low, display.high])
    span = max(high - low, 1e-3)
    return float(low - display.margin * span), float(high)


def shown(image: np.ndarray, limits: tuple[float, float], display: Display) -> np.ndarray:
    """Grey levels 0..1 through a curve that is straight in the middle and bends at both ends.

    Shapes: [H, W] -> [H, W] float32.
    """
    low, high = limits
    share = (image - low) / (high - low)
    curve = _soft(share, display.toe) - _soft(share - 1, display.toe)
    black, white = (_soft(np.array(v), display.toe) - _soft(np.array(v - 1.0), display.toe) for v in (-0.25, 1.25))
    grey = np.clip((curve - black) / (white - black), 0, 1) ** display.gamma
    return (display.white * grey).astype(np.float32)


def _soft(x: np.ndarray, toe: float) -> np.ndarray:
    """max(x, 0) with its corner rounded over `toe`."""
    return (x + np.sqrt(x * x + toe * toe)) / 2


def _blurred(image: np.ndarray, width: float) -> np.ndarray:
    """A wide Gaussian blur, done on a quarter of the rows and columns."""
    side = image.shape[0] // 4
    coarse = image.reshape(side, 4, side, 4).mean((1, 3))
    return zoom(gaussian_filter(coarse, width / 4, mode="nearest"), 4, order=1, grid_mode=True, mode="nearest")
