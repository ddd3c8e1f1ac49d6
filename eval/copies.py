"""Radiographs that came back: nearest training neighbours, copies of one exposure, the same search on planted ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

from gen.data.duplicates import near_pairs
from gen.data.images import to_model
from gen.data.looks import THUMBNAIL
from gen.judges.neighbours import CopyThreshold, copy_threshold, nearest, pixel_details

from .alterations import altered
from .context import Context
from .copy_metric import IMAGES, copy_metric
from .registration import registered
from .stats import sample

PLANTED = 20
BATCH = 32  # images a call of the network
CANDIDATES = 3  # training images a query that are laid over it


@dataclass(frozen=True)
class Neighbours:
    """The nearest training images of synthetic, held-out real and planted images, by one kind of distance.

    Shapes: made [N], held_out [M], planted [P] distances to the nearest; made_at, held_out_at, planted_at [N, k] etc.
    training rows, the nearest first.
    """

    made: np.ndarray
    made_at: np.ndarray
    held_out: np.ndarray
    held_out_at: np.ndarray
    planted: np.ndarray
    planted_at: np.ndarray
    limit: CopyThreshold


def by_features(context: Context, planted: tuple[np.ndarray, np.ndarray]) -> Neighbours:
    """Distances of the main network's features in the metric of copies, learnt from training images not planted."""
    generator = context.generator("copy metric")
    others = np.setdiff1d(np.arange(len(context.train)), planted[0])
    rows = context.train.iloc[others[sample(len(others), min(IMAGES, len(others)), generator)]]
    of = partial(_features_of, context)
    metric = copy_metric(context.pixels(rows, context.network.side), of, generator)
    vectors = [context.features(rows) @ metric for rows in (context.synthetic, context.train, context.reference)]
    return _neighbours(context, *vectors, of(planted[1]) @ metric, "euclidean")


def by_pixels(context: Context, planted: tuple[np.ndarray, np.ndarray]) -> Neighbours:
    """1 - correlation of local contrast at 32 pixels: brightness, gamma and size drop out."""
    tables = (context.synthetic, context.train, context.reference)
    vectors = [details(context.pixels(rows, THUMBNAIL)) for rows in tables]
    return _neighbours(context, *vectors, details(_resized(planted[1], THUMBNAIL)), "cosine")


def details(pixels: np.ndarray) -> np.ndarray:
    """Shapes: [N, 64, 64] uint8 -> [N, 1024] float32."""
    return pixel_details(torch.from_numpy(to_model(pixels))[:, None])


def plant(context: Context) -> tuple[np.ndarray, np.ndarray]:
    """Training rows and their images altered as copies may be (`alterations`).

    Shapes: -> rows [P], images [P, side, side] uint8 at the network's side.
    """
    generator = context.generator("planted")
    rows = sample(len(context.train), min(PLANTED, len(context.train)), generator)
    return rows, altered(context.pixels(context.train.iloc[rows], context.network.side), generator)


def confirmed(synthetic: np.ndarray, train: np.ndarray) -> list[tuple[int, int, float]]:
    """(synthetic row, training row, correlation) of images that are one exposure. Shapes: [N, 64, 64] uint8 each."""
    together = np.concatenate([synthetic, train])
    kinds = ["synthetic"] * len(synthetic) + ["train"] * len(train)
    pairs = near_pairs(together, kinds)
    return [(a, b - len(synthetic), found) for a, b, found in pairs]


def copied(queries: np.ndarray, train: np.ndarray, nearest_rows: np.ndarray) -> list[tuple[int, int, float]]:
    """The best match of every copied image: by pixels of all pairs, and by laying features' nearest over one another.

    Shapes: queries [N, 64, 64], train [M, 64, 64] uint8, nearest_rows [N, k] rows of `train`.
    """
    best: dict[int, tuple[int, int, float]] = {}
    for pair in confirmed(queries, train) + registered(queries, train, nearest_rows):
        if pair[0] not in best or pair[2] > best[pair[0]][2]:
            best[pair[0]] = pair
    return sorted(best.values(), key=lambda pair: -pair[2])


def planted_thumbnails(planted: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """Shapes: -> [P, 64, 64] uint8."""
    return _resized(planted[1], THUMBNAIL)


def _neighbours(
    context: Context, made: np.ndarray, train: np.ndarray, held_out: np.ndarray, planted: np.ndarray, metric: str
) -> Neighbours:
    patients = [rows["patient_id"].to_numpy(dtype=str) for rows in (context.train, context.reference)]
    limit = copy_threshold(train, held_out, *patients, metric=metric)
    k = min(CANDIDATES, len(train))
    found = [nearest(vectors, train, k, metric=metric) for vectors in (made, held_out, planted)]
    return Neighbours(*(part for distances, places in found for part in (distances[:, 0], places)), limit)


def _features_of(context: Context, images: np.ndarray) -> np.ndarray:
    device = next(context.network.module.parameters()).device
    parts = torch.from_numpy(to_model(images))[:, None].split(BATCH)
    return torch.cat([context.network(part.to(device)).features.float().cpu() for part in parts]).numpy()


def _resized(images: np.ndarray | Sequence[np.ndarray], side: int) -> np.ndarray:
    from torchvision.transforms.v2.functional import resize_image

    return resize_image(torch.from_numpy(np.asarray(images))[:, None], [side, side], antialias=True)[:, 0].numpy()
