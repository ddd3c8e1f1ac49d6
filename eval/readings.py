"""What a reader of radiographs says of many images, as arrays, and what their rows say that they should show."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from tqdm import tqdm

from gen.data.vocabulary import normalise_findings

if TYPE_CHECKING:
    from torch import Tensor

    from gen.judges.reader import Reading

BATCH = 32
SIDE = 256  # pixels handed to a reader, which resamples them to its own size
FRONTAL = ("PA", "AP", "AP SUPINE")


class Judge(Protocol):
    """What reads images: gen.judges.reader.Reader, or another network made to look like it."""

    labels: tuple[str, ...]
    views: tuple[str, ...]

    def read(self, images: Tensor) -> Reading: ...


@dataclass(frozen=True)
class Readings:
    """N images read. Shapes: findings [N, K], view [N, V], female [N], age [N] years, features [N, D]."""

    labels: tuple[str, ...]
    views: tuple[str, ...]
    findings: np.ndarray
    view: np.ndarray
    female: np.ndarray
    age: np.ndarray
    features: np.ndarray

    def __len__(self) -> int:
        return len(self.findings)

    def at(self, rows: np.ndarray) -> Readings:
        """Only some images, in another order, or one several times."""
        parts = (self.findings, self.view, self.female, self.age, self.features)
        return Readings(self.labels, self.views, *(part[rows] for part in parts))

    def scores(self, labels: Sequence[str]) -> np.ndarray:
        """Probabilities of some of the labels. Shapes: -> [N, len(labels)]."""
        return self.findings[:, [self.labels.index(label) for label in labels]]

    def said_views(self) -> np.ndarray:
        """The likeliest view of each image."""
        return np.array(self.views)[self.view.argmax(1)]


def read_pixels(judge: Judge, pixels: np.ndarray, name: str = "read") -> Readings:
    """Have images read, a batch at a time. Shapes: [N, H, W] uint8."""
    import torch

    read = []
    for first in tqdm(range(0, len(pixels), BATCH), desc=name, unit="batch", disable=None):
        images = torch.from_numpy(pixels[first : first + BATCH]).float() / 127.5 - 1
        with torch.no_grad():
            read.append(judge.read(images[:, None]))
    parts = (
        np.concatenate([getattr(one, part).float().cpu().numpy() for one in read])
        for part in ("findings", "view", "sex_female", "age", "features")
    )
    return Readings(tuple(judge.labels), tuple(judge.views), *parts)


def read_files(judge: Judge, paths: Iterable[str | Path], name: str = "read") -> Readings:
    """Have image files read, each file once however often it is named."""
    paths = [str(path) for path in paths]
    unique = list(dict.fromkeys(paths))
    places = {path: place for place, path in enumerate(unique)}
    return read_pixels(judge, load_pixels(unique), name).at(np.array([places[path] for path in paths], dtype=int))


def load_pixels(paths: Sequence[str], side: int = SIDE) -> np.ndarray:
    """Image files as a model sees them: padded to a square, never flipped. Shapes: -> [N, side, side] uint8."""
    from gen.data.images import from_model, prepare

    return np.stack([from_model(prepare(path, side)) for path in paths])


def truth_matrix(findings: Iterable[str], labels: Sequence[str]) -> np.ndarray:
    """Which labels each row's findings name, a "Viral Pneumonia" being a "Pneumonia" too. Shapes: -> [N, K] bool."""
    named = [normalise_findings(text) for text in findings]
    cells = [[any(f" {finding}".endswith(f" {label}") for finding in row) for label in labels] for row in named]
    return np.array(cells, dtype=bool).reshape(len(named), len(labels))


def judged_labels(truth: np.ndarray, labels: Sequence[str], least: int) -> list[str]:
    """Labels with at least so many images that show them and so many that do not."""
    counts = truth.sum(0)
    return [label for label, n in zip(labels, counts, strict=True) if min(n, len(truth) - n) >= least]


def cosine(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Cosine of two rows' features, pair by pair. Shapes: [N, D], [N, D] -> [N]."""
    lengths = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    return (first * second).sum(1) / np.maximum(lengths, 1e-12)


def other_rows(groups: Sequence, seed: int = 0) -> np.ndarray:
    """For each row a random row of another group (patient, prompt): a shuffled control; itself where there is none."""
    groups = np.asarray(groups).astype(str)
    generator = np.random.default_rng(seed)
    chosen = np.arange(len(groups))
    for row, group in enumerate(groups):
        others = np.flatnonzero(groups != group)
        if len(others):
            chosen[row] = generator.choice(others)
    return chosen
