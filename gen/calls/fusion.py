"""A local image set into a global one: equal means, no crumbs, no seam (as GL-LCM does it with OpenCV)."""

from __future__ import annotations

import numpy as np
from scipy.fft import dstn, idstn
from scipy.ndimage import binary_erosion, find_objects, label

CRUMB = 100  # pixels, of a mask part that GL-LCM leaves out
RIM = 3  # pixels of the mask's rim whose gradients stay the global image's


def mean_matched(local: np.ndarray, everywhere: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The local image with the other one's mean within the mask. Shapes: [H, W] each."""
    if not mask.any():
        return local
    return local + (everywhere[mask].mean() - local[mask].mean())


def without_crumbs(mask: np.ndarray, least: int = CRUMB) -> np.ndarray:
    """The mask without parts (8-connected) of fewer than `least` pixels. Shapes: [H, W] bool."""
    numbers = np.zeros(mask.shape, dtype=np.int32)
    label(mask, structure=np.ones((3, 3), dtype=int), output=numbers)
    sizes = np.bincount(numbers.ravel())
    sizes[0] = 0
    return (sizes >= least)[numbers]


def poisson_blend(local: np.ndarray, everywhere: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The local image set into the global one by its gradients (Perez et al. 2003), as OpenCV's seamlessClone does it.

    Solved for is the mask's bounding box, whose border stays. The local gradients hold where the mask is still there
    when `RIM` pixels narrower, so that the step to the black around it has no part; elsewhere the global ones do.
    Shapes: [H, W] each, mask bool.
    """
    box = find_objects(mask.astype(np.uint8))
    inner = binary_erosion(mask[box[0]], np.ones((3, 3)), RIM) if box else np.zeros((0, 0), bool)
    if not inner.any():
        return everywhere.copy()
    blended = everywhere.astype(np.float64)
    blended[box[0]] = _with_gradients(local[box[0]].astype(np.float64), blended[box[0]], inner)
    return blended.astype(everywhere.dtype)


def _with_gradients(local: np.ndarray, everywhere: np.ndarray, inner: np.ndarray) -> np.ndarray:
    """An image with one's forward differences within a mask and the other's elsewhere, which gives its border, too."""
    across = np.where(inner[:, :-1], np.diff(local, axis=1), np.diff(everywhere, axis=1))
    down = np.where(inner[:-1], np.diff(local, axis=0), np.diff(everywhere, axis=0))
    divergence = np.diff(across, axis=1)[1:-1] + np.diff(down, axis=0)[:, 1:-1]
    image = everywhere.copy()
    image[1:-1, 1:-1] = 0
    image[1:-1, 1:-1] = _solved(divergence - _laplacian(image))
    return image


def _laplacian(image: np.ndarray) -> np.ndarray:
    """Shapes: [H, W] -> [H - 2, W - 2]."""
    return np.diff(image, 2, axis=1)[1:-1] + np.diff(image, 2, axis=0)[:, 1:-1]


def _solved(laplacian: np.ndarray) -> np.ndarray:
    """The image of a given Laplacian with nothing around it. Shapes: [h, w] -> the same."""
    rates = [2 * np.cos(np.pi * np.arange(1, side + 1) / (side + 1)) - 2 for side in laplacian.shape]
    return idstn(dstn(laplacian, type=1) / np.add.outer(*rates), type=1)
