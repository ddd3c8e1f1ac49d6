"""Exact nearest neighbours in blocks, and from which distance on an image is a copy.

Memory is linear in the number of vectors: never more than one block of distances exists.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from gen.data.duplicates import perceptual_hashes
from gen.errors import UserError
from gen.judges.preparation import thumbnails

Vectors = np.ndarray | Tensor
Ids = Sequence | np.ndarray
Metric = Literal["euclidean", "cosine"]
SPARE = 4  # candidates beyond k, whose distances are computed again without cancellation


def nearest(
    queries: Vectors,
    references: Vectors,
    k: int = 1,
    block: int = 4096,
    metric: Metric = "euclidean",
    exclude: tuple[Ids, Ids] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """The k nearest references of every query, nearest first.

    `exclude` gives an identity (patient, file) to every query and every reference: a reference with the query's own
    does not count. Where fewer than k are left, distances are inf and indices -1. The cosine distance is 1 - cosine.
    Shapes: [N, D], [M, D] -> distances [N, k] float32, indices [N, k] int64.
    Errors: ValueError for unequal widths or fewer than k references.
    """
    q, r = _vectors(queries, metric), _vectors(references, metric)
    if q.shape[1] != r.shape[1] or len(r) < k:
        raise ValueError(f"{len(q)} x {q.shape[1]} queries, {len(r)} x {r.shape[1]} references, {k} wanted")
    centre = r.mean(0)  # distances keep, and small ones lose less to cancellation
    q, r = q - centre, r - centre
    own = None if exclude is None else _numbered(*exclude)
    found = [
        _nearest(part, r, k, block, None if own is None else (own[0][start : start + block], own[1]))
        for start, part in _blocks(q, block)
    ]
    if not found:
        return np.empty((0, k), np.float32), np.empty((0, k), np.int64)
    distances, indices = (torch.cat(parts) for parts in zip(*found, strict=True))
    if metric == "cosine":  # of unit vectors: |a - b|^2 = 2 (1 - cos)
        distances = distances.square() / 2
    return distances.numpy(), indices.numpy()


@dataclass(frozen=True)
class CopyThreshold:
    """Nearer than `threshold` counts as a copy.

    `false_alarms` is the share of innocent images that this flags, by the innocents' own distances: `innocent` [N],
    sorted. `held_out_flagged` is the share of held-out real images below it. `way` says how the threshold was found.
    """

    threshold: float
    false_alarms: float
    innocent: np.ndarray
    held_out_flagged: float
    way: str

    def flags(self, distances: np.ndarray) -> np.ndarray:
        """Which distances are copies. Shapes: [N] -> [N] bool."""
        return np.asarray(distances) < self.threshold


def copy_threshold(
    train: Vectors,
    held_out: Vectors,
    train_patients: Ids,
    held_out_patients: Ids,
    false_alarms: float = 1e-3,
    metric: Metric = "euclidean",
) -> CopyThreshold:
    """The distance to the nearest training image below which so few real images of other patients lie.

    Innocent distances are those of every held-out image to its nearest training image, and of every training image to
    its nearest of another patient. Where at least ten of them would lie below, the threshold is their quantile; beyond
    that, a normal tail of log-distances through their 1st and 25th percentiles is extrapolated.
    Shapes: [M, D], [N, D] and one patient a row.
    Errors: UserError for fewer than 20 innocent images.
    """
    outside = nearest(held_out, train, 1, metric=metric, exclude=(held_out_patients, train_patients))[0][:, 0]
    inside = nearest(train, train, 1, metric=metric, exclude=(train_patients, train_patients))[0][:, 0]
    innocent = np.sort(np.concatenate([outside, inside]))
    innocent = innocent[np.isfinite(innocent)]
    if len(innocent) < 20:
        raise UserError(f"{len(innocent)} real images of different patients; a copy threshold needs at least 20")
    enough = false_alarms * len(innocent) >= 10
    threshold = float(np.quantile(innocent, false_alarms)) if enough else _tail(innocent, false_alarms)
    way = "quantile" if enough else "extrapolated tail"
    return CopyThreshold(threshold, false_alarms, innocent, float((outside < threshold).mean()), way)


def pixel_details(images: Vectors) -> np.ndarray:
    """Local contrast at 32 px, so that brightness, contrast and size drop out; compare with metric "cosine".

    Shapes: [N, 1, H, W] in [-1, 1] -> [N, 1024] float32.
    """
    return perceptual_hashes(thumbnails(images))


def _tail(innocent: np.ndarray, false_alarms: float) -> float:
    from scipy.stats import norm

    low, high = np.log(np.maximum(np.quantile(innocent, [0.01, 0.25]), 1e-12))
    at_low, at_high, wanted = norm.ppf([0.01, 0.25, false_alarms])
    return float(np.exp(low + (wanted - at_low) * (high - low) / (at_high - at_low)))


def _vectors(values: Vectors, metric: Metric) -> Tensor:
    vectors = torch.as_tensor(values).detach().float().cpu().flatten(1)
    return F.normalize(vectors, dim=1) if metric == "cosine" else vectors


def _numbered(*ids: Ids) -> tuple[Tensor, ...]:
    together = np.concatenate([np.asarray(part, dtype=object) for part in ids])
    numbers = {name: number for number, name in enumerate(dict.fromkeys(together.tolist()))}
    return tuple(torch.tensor([numbers[name] for name in np.asarray(part, dtype=object).tolist()]) for part in ids)


def _blocks(vectors: Tensor, block: int):
    return ((start, vectors[start : start + block]) for start in range(0, len(vectors), block))


def _nearest(
    queries: Tensor, references: Tensor, k: int, block: int, own: tuple[Tensor, Tensor] | None
) -> tuple[Tensor, Tensor]:
    """k nearest of one block of queries: candidates by one matrix product a block, then their exact distances."""
    kept = min(k + SPARE, len(references))
    best = torch.full((len(queries), kept), torch.inf)
    index = torch.full((len(queries), kept), -1)
    for start, part in _blocks(references, block):
        squares = torch.addmm(part.square().sum(1)[None], queries, part.T, alpha=-2)  # without |q|^2, one a row
        if own is not None:
            squares[own[0][:, None] == own[1][None, start : start + block]] = torch.inf
        near, place = squares.topk(min(kept, len(part)), dim=1, largest=False)
        place = (place + start).where(near.isfinite(), -1)
        best, order = torch.cat([best, near], 1).topk(kept, dim=1, largest=False)
        index = torch.cat([index, place], 1).gather(1, order)
    exact = torch.stack([(queries - references[column.clamp_min(0)]).norm(dim=1) for column in index.T], 1)
    distances, order = exact.where(index >= 0, torch.inf).topk(k, dim=1, largest=False)
    return distances, index.gather(1, order)
