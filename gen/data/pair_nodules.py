"""Nodules for training pairs: bright, round and soft-edged, in both images alike, so that they are no bone."""

from __future__ import annotations

import numpy as np

NONE = 0.5  # share of the pairs without any
MOST = 3
RADIUS = (0.012, 0.05)  # of the side
CONTRAST = (0.03, 0.15)  # of brightness
ELONGATION = 1.5  # largest ratio of the axes
EDGE = (0.1, 0.35)  # width of the edge, of the radius
MARGIN = 0.12  # of the side, about the frame


def with_nodules(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The image, or the image with one to three nodules anywhere but at the frame. Shapes: [S, S] in 0..1."""
    count = 0 if rng.random() < NONE else int(rng.integers(1, MOST + 1))
    for _ in range(count):
        image = image + rng.uniform(*CONTRAST) * nodule(image.shape[0], rng)
    return image


def nodule(side: int, rng: np.random.Generator) -> np.ndarray:
    """An ellipse of 1 with an edge that fades out. Shapes: -> [S, S] in 0..1."""
    rows, columns = np.mgrid[:side, :side] / side
    down, right = rng.uniform(MARGIN, 1 - MARGIN, 2)
    angle, ratio = rng.uniform(0, np.pi), np.sqrt(rng.uniform(1, ELONGATION))
    along = (columns - right) * np.cos(angle) + (rows - down) * np.sin(angle)
    across = (rows - down) * np.cos(angle) - (columns - right) * np.sin(angle)
    distance = np.hypot(along / ratio, across * ratio) / rng.uniform(*RADIUS)
    return 1 / (1 + np.exp(np.clip((distance - 1) / rng.uniform(*EDGE), -40, 40) * 2))
