"""Precision, recall, density and coverage by balls around neighbours, in blocks: never all distances at once.

Kynkaanniemi et al. (arXiv 1904.06991); Naeem et al. (arXiv 2002.09797). An image lies on a set's manifold if it is
nearer to one of its images than that image's k-th neighbour within the set.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from gen.judges.neighbours import nearest

NEIGHBOURS = 5
BLOCK = 1024


@dataclass(frozen=True)
class Coverage:
    """The four figures before their mean, so that a bootstrap is a mean of rows.

    Shapes: precision, density [N] of synthetic images; recall, coverage [M] of real images.
    """

    precision: np.ndarray
    recall: np.ndarray
    density: np.ndarray
    coverage: np.ndarray


def manifold_coverage(real: np.ndarray, synthetic: np.ndarray, k: int = NEIGHBOURS) -> Coverage:
    """Which images of each set lie on the other set's manifold. Shapes: real [M, D], synthetic [N, D]."""
    centre = real.mean(0, dtype=np.float64)  # small distances lose less to cancellation
    a, b = (torch.from_numpy((part - centre).astype(np.float32)) for part in (real, synthetic))
    around_real, around_synthetic = (squared_radii(part.numpy(), k) for part in (a, b))
    lengths = a.square().sum(1)
    covered, nearest_made = torch.zeros(len(a), dtype=torch.bool), torch.full((len(a),), torch.inf)
    balls = torch.zeros(len(b), dtype=torch.float32)
    for start in range(0, len(b), BLOCK):
        part = b[start : start + BLOCK]
        squares = torch.addmm(lengths[None], part, a.T, alpha=-2).add_(part.square().sum(1)[:, None])  # [block, M]
        balls[start : start + BLOCK] = (squares < around_real).sum(1)
        covered |= (squares < around_synthetic[start : start + BLOCK, None]).any(0)
        torch.minimum(nearest_made, squares.amin(0), out=nearest_made)
    return Coverage(
        precision=(balls > 0).numpy(),
        recall=covered.numpy(),
        density=(balls / k).numpy(),
        coverage=(nearest_made < around_real).numpy(),
    )


def squared_radii(vectors: np.ndarray, k: int) -> torch.Tensor:
    """Squared distance of every vector to its k-th neighbour other than itself. Shapes: [N, D] -> [N]."""
    rows = np.arange(len(vectors))
    return torch.from_numpy(nearest(vectors, vectors, k, exclude=(rows, rows))[0][:, -1]).square()
