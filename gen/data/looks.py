"""One look at every image of an index: whether it reads, what its pixels hash to, its frame, a thumbnail."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter
from tqdm import tqdm

from gen.data.images import read_image, resize
from gen.errors import UserError

THUMBNAIL = 64  # pixels a side
FLAT = 0.02  # standard deviation of a line of a frame, in 0..1
BLACK = 0.1  # nothing of a body is shown darker over a whole line
STEP = 0.1  # from a bright frame to what it frames, in 0..1
DEEPEST_FRAME = 0.4  # of a side
SAMPLED_LINES = 256  # along a side


@dataclass(frozen=True)
class Look:
    """What one image shows. `border` is the share of its area outside the content; the thumbnail is of the content."""

    error: str
    digest: str
    border: float
    thumbnail: np.ndarray


def look_at(path: str) -> Look:
    """Read one image; what goes wrong stands in `error`. Shapes: thumbnail [64, 64] uint8."""
    try:
        image = read_image(path)
    except UserError as error:
        return Look(" ".join(str(error).split()), "", 0.0, np.zeros((THUMBNAIL, THUMBNAIL), dtype=np.uint8))
    quantised = np.round(image * 65535).astype(np.uint16)
    digest = hashlib.sha256(f"{image.shape}".encode() + np.ascontiguousarray(quantised).tobytes()).hexdigest()
    inside = content(image)
    small = np.round(np.clip(resize(inside, THUMBNAIL), 0, 1) * 255).astype(np.uint8)
    return Look("", digest, 1 - inside.size / image.size, small)


def look_at_all(paths: Sequence[str], workers: int = 0) -> list[Look]:
    """`look_at` for every path, in order, by so many processes (0: in this one)."""
    if workers == 0:
        return list(_counted(map(look_at, paths), len(paths)))
    with ProcessPoolExecutor(workers) as pool:
        return list(_counted(pool.map(look_at, paths, chunksize=16), len(paths)))


def content(image: np.ndarray) -> np.ndarray:
    """The part inside an even frame, black, white or any grey. Shapes: [H, W] -> [h, w], a view."""
    top, bottom = _frame(image)
    left, right = _frame(image[top : image.shape[0] - bottom].T)
    return image[top : image.shape[0] - bottom, left : image.shape[1] - right]


def local_contrast(thumbnails: np.ndarray, sigma: float) -> np.ndarray:
    """Fluctuations about the local mean over their local size: brightness, gamma and windowing drop out.

    Each result has mean 0 and length 1. Shapes: [N, S, S] in 0..1 -> [N, S, S] float32; sigma in pixels.
    """
    spread = (0, sigma, sigma)
    deviations = thumbnails - gaussian_filter(thumbnails, spread)
    return unit(deviations / (np.sqrt(gaussian_filter(deviations**2, spread)) + 0.01))


def unit(images: np.ndarray) -> np.ndarray:
    """Images with mean 0 and length 1, so that their products are correlations. Shapes: [N, S, S] -> [N, S, S]."""
    centred = images - images.mean((1, 2), keepdims=True)
    return (centred / np.maximum(np.linalg.norm(centred, axis=(1, 2), keepdims=True), 1e-6)).astype(np.float32)


def _counted(looks: Iterable[Look], total: int) -> Iterable[Look]:
    return tqdm(looks, total=total, desc="images", unit="", disable=None, mininterval=1)


def _frame(image: np.ndarray) -> tuple[int, int]:
    """Rows of even grey at the top and at the bottom."""
    step = max(1, image.shape[0] // SAMPLED_LINES)
    lines = image[::step, :: max(1, image.shape[1] // SAMPLED_LINES)]
    deepest = int(len(lines) * DEEPEST_FRAME)
    return min(_even_lines(lines), deepest) * step, min(_even_lines(lines[::-1]), deepest) * step


def _even_lines(lines: np.ndarray) -> int:
    """Leading lines of even grey; bright ones only where they end in a step: a burnt-out abdomen fades in."""
    flat = lines.std(axis=1) < FLAT
    number = int(np.argmin(flat)) if not flat.all() else len(lines)
    beyond = lines[number : number + 1 + len(lines) // 50]
    if not number or not len(beyond):
        return number
    grey = float(lines[:number].mean())
    return number if grey < BLACK or np.abs(beyond[-1] - grey).mean() > STEP else 0
