"""How different the images of a set are from one another: MS-SSIM over pairs, Vendi score, Inception Score."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import torch

SIDE = 256  # pixels: five scales of an 11-pixel window need 161
BATCH = 16


def similarities(pixels: np.ndarray, pairs: Sequence[tuple[int, int]]) -> np.ndarray:
    """MS-SSIM of pairs of images, 1 for equal ones (Wang et al., 2003). Shapes: [N, S, S] uint8 -> [P]."""
    from torchmetrics.functional.image import multiscale_structural_similarity_index_measure as ms_ssim

    found = []
    for start in range(0, len(pairs), BATCH):
        first, second = np.array(pairs[start : start + BATCH]).T
        a, b = (torch.from_numpy(pixels[rows])[:, None].float() / 255 for rows in (first, second))
        found.append(ms_ssim(a, b, data_range=1.0, reduction="none").reshape(-1).numpy())
    return np.concatenate(found) if found else np.empty(0, np.float32)


def pairs_within(groups: Sequence, limit: int, generator: np.random.Generator) -> list[tuple[int, int]]:
    """Pairs of rows of one group (a prompt), at most `limit`, spread over the groups."""
    members: dict[object, list[int]] = {}
    for row, group in enumerate(groups):
        members.setdefault(group, []).append(row)
    found = [pair for rows in members.values() for pair in combinations(rows[:8], 2)]
    return _some(found, limit, generator)


def pairs_across(groups: Sequence, limit: int, generator: np.random.Generator) -> list[tuple[int, int]]:
    """Random pairs of rows of different groups."""
    count = len(groups)
    drawn = {tuple(sorted(pair)) for pair in generator.integers(count, size=(8 * limit, 2)).tolist()}
    return _some([(a, b) for a, b in sorted(drawn) if groups[a] != groups[b]], limit, generator)


def vendi_score(features: np.ndarray) -> float:
    """The effective number of different images, 1..N, by cosine similarity (Friedman and Dieng, arXiv 2210.02410).

    exp of the entropy of the eigenvalues of K / N; of the smaller of the two Gram matrices. Shapes: [N, D].
    """
    x = features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
    gram = (x @ x.T if len(x) <= x.shape[1] else x.T @ x).astype(np.float64) / len(x)
    values = np.linalg.eigvalsh(gram).clip(0)
    values = values[values > 1e-12] / values.sum()
    return float(np.exp(-(values * np.log(values)).sum()))


def inception_score(logits: np.ndarray) -> float:
    """exp of the mean KL of class probabilities from their mean (Salimans et al., arXiv 1606.03498). Shapes: [N, K]."""
    log_p = torch.from_numpy(logits).double().log_softmax(1)
    log_mean = torch.logsumexp(log_p, 0) - np.log(len(logits))
    return float(torch.exp((log_p.exp() * (log_p - log_mean)).sum(1).mean()))


def _some(pairs: list[tuple[int, int]], limit: int, generator: np.random.Generator) -> list[tuple[int, int]]:
    if len(pairs) <= limit:
        return pairs
    return [pairs[number] for number in np.sort(generator.choice(len(pairs), limit, replace=False))]
