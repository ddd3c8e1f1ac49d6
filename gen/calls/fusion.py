"""A local image set into a global one: equal means, no crumbs, no seam (as GL-LCM does it with OpenCV)."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import label
from scipy.sparse import coo_array, csr_array
from scipy.sparse.linalg import spsolve

CRUMB = 100  # pixels, of a mask part that GL-LCM leaves out
NEIGHBOURS = ((0, 1), (0, -1), (1, 0), (-1, 0))


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
    """Within the mask an image with the local one's gradients that meets the global one at the rim (Perez et al. 2003).

    Solves the discrete Poisson equation with the global image as Dirichlet boundary, exactly; OpenCV's seamlessClone
    solves it by sine transforms. What touches the image's edge stays the global one. Shapes: [H, W] each, mask bool.
    """
    inside = mask.copy()
    inside[[0, -1], :] = inside[:, [0, -1]] = False
    if not inside.any():
        return everywhere.copy()
    matrix, right = _equations(local, everywhere, inside)
    blended = everywhere.astype(np.float64)
    blended[inside] = spsolve(matrix.tocsc(), right)
    return blended.astype(everywhere.dtype)


def _equations(local: np.ndarray, everywhere: np.ndarray, inside: np.ndarray) -> tuple[csr_array, np.ndarray]:
    """4 f(p) - sum of f over inner neighbours = local's Laplacian + sum of the global image over the outer ones."""
    unknown = np.full(inside.shape, -1)
    unknown[inside] = np.arange(inside.sum())
    rows, columns = np.nonzero(inside)
    own = unknown[rows, columns]
    right = np.zeros(len(own))
    entries = [(own, own, np.full(len(own), 4.0))]
    for down, across in NEIGHBOURS:
        place = (rows + down, columns + across)
        right += local[rows, columns].astype(np.float64) - local[place]
        within = inside[place]
        entries.append((own[within], unknown[place][within], np.full(within.sum(), -1.0)))
        right[~within] += everywhere[place][~within]
    first, second, values = (np.concatenate(parts) for parts in zip(*entries, strict=True))
    return coo_array((values, (first, second)), shape=(len(own), len(own))).tocsr(), right
