"""Images that occur twice: the same pixels, or the same exposure saved again in another size, quality or grey scale."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations

import numpy as np

from gen.data.looks import local_contrast

HASH_SIDE = 32
HASH_SIGMA = 3.0
ALIKE = 0.85  # correlation of 32 px hashes: of 5.5 million pairs of different radiographs one in 1e5 reaches it
FINE_SIGMA = 4.0
SAME = 0.88  # correlation of 64 px details at the best shift: other exposures, even of one patient, stay below 0.86
SHIFT = 4  # pixels of 64
BLOCK = 512  # rows of a product
FLOOR = 1e-3  # a thumbnail of even grey has no details to compare


def exact_groups(digests: Sequence[str]) -> list[list[int]]:
    """Positions of images with equal pixels, groups of two and more; an empty digest matches nothing."""
    places: dict[str, list[int]] = {}
    for position, digest in enumerate(digests):
        if digest:
            places.setdefault(digest, []).append(position)
    return [group for group in places.values() if len(group) > 1]


def near_pairs(thumbnails: np.ndarray, groups: Sequence[str]) -> list[tuple[int, int, float]]:
    """Pairs of one exposure in different groups, with the correlation of their details.

    Found whatever the size, quality, grey scale, polarity and frame; not when more than some 3 % is cut off.
    Shapes: thumbnails [N, 64, 64] uint8 (`gen.data.looks`), groups [N], the splits of the images.
    """
    hashes = perceptual_hashes(thumbnails)
    pairs = (_confirmed(thumbnails, min(a, b), max(a, b)) for a, b in _candidates(hashes, np.asarray(groups)))
    return sorted((pair for pair in pairs if pair[2] >= SAME), key=lambda pair: -pair[2])


def perceptual_hashes(thumbnails: np.ndarray) -> np.ndarray:
    """Local contrast at 32 px as rows whose products are correlations. Shapes: [N, 64, 64] uint8 -> [N, 1024]."""
    hashes = np.zeros((len(thumbnails), HASH_SIDE**2), dtype=np.float32)
    for start in range(0, len(thumbnails), BLOCK):
        block = thumbnails[start : start + BLOCK].astype(np.float32) / 255
        small = block.reshape(-1, HASH_SIDE, 2, HASH_SIDE, 2).mean((2, 4))
        contrast = local_contrast(small, HASH_SIGMA)
        contrast[small.std((1, 2)) < FLOOR] = 0
        hashes[start : start + BLOCK] = contrast.reshape(len(block), -1)
    return hashes


def _candidates(hashes: np.ndarray, groups: np.ndarray) -> Iterator[tuple[int, int]]:
    """Pairs across groups whose hashes correlate, either way: an inverted copy is a copy."""
    for first, second in combinations(sorted(set(groups.tolist())), 2):
        rows, columns = np.flatnonzero(groups == first), np.flatnonzero(groups == second)
        others = hashes[columns].T
        for start in range(0, len(rows), BLOCK):
            part = rows[start : start + BLOCK]
            a, b = np.nonzero(np.abs(hashes[part] @ others) >= ALIKE)
            yield from zip(part[a].tolist(), columns[b].tolist(), strict=True)


def _confirmed(thumbnails: np.ndarray, a: int, b: int) -> tuple[int, int, float]:
    fine = local_contrast(thumbnails[[a, b]].astype(np.float32) / 255, FINE_SIGMA)
    spectra = np.fft.rfft2(fine)
    products = np.fft.irfft2(spectra[0] * np.conj(spectra[1]), fine.shape[1:])
    near = np.r_[0 : SHIFT + 1, -SHIFT:0]
    return a, b, float(np.abs(products[np.ix_(near, near)]).max())
