"""Radiographs that came back: nearest training neighbours, copies of one exposure, the same search on planted ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from gen.data.duplicates import near_pairs
from gen.data.images import to_model
from gen.data.looks import THUMBNAIL
from gen.judges.neighbours import CopyThreshold, copy_threshold, nearest, pixel_details

from .context import Context
from .plots import gallery
from .section import Plot, Table
from .stats import sample

PLANTED = 20
SHOWN = 12
PICTURE = 128  # pixels


@dataclass(frozen=True)
class Neighbours:
    """The nearest training image of every synthetic and every held-out one, by one kind of distance.

    Shapes: made, made_at [N]; held_out [M]; planted [P] distances of altered training images to the training set.
    """

    made: np.ndarray
    made_at: np.ndarray
    held_out: np.ndarray
    planted: np.ndarray
    limit: CopyThreshold


def by_features(context: Context, planted: tuple[np.ndarray, np.ndarray]) -> Neighbours:
    """Euclidean distances of the main network's features."""
    vectors = [context.features(rows) for rows in (context.synthetic, context.train, context.reference)]
    return _neighbours(context, *vectors, _features_of(context, planted[1]), "euclidean")


def by_pixels(context: Context, planted: tuple[np.ndarray, np.ndarray]) -> Neighbours:
    """1 - correlation of local contrast at 32 pixels: brightness, gamma and size drop out."""
    tables = (context.synthetic, context.train, context.reference)
    vectors = [details(context.pixels(rows, THUMBNAIL)) for rows in tables]
    return _neighbours(context, *vectors, details(_resized(planted[1], THUMBNAIL)), "cosine")


def details(pixels: np.ndarray) -> np.ndarray:
    """Shapes: [N, 64, 64] uint8 -> [N, 1024] float32."""
    return pixel_details(torch.from_numpy(to_model(pixels))[:, None])


def plant(context: Context) -> tuple[np.ndarray, np.ndarray]:
    """Training rows and their images altered as a saved copy is: half the size and back, another gamma and contrast.

    Shapes: -> rows [P], images [P, side, side] uint8 at the network's side.
    """
    generator = context.generator("planted")
    rows = sample(len(context.train), min(PLANTED, len(context.train)), generator)
    images = context.pixels(context.train.iloc[rows], context.network.side)
    small = _resized(images, context.network.side // 2)
    back = _resized(small, context.network.side).astype(np.float32) / 255
    return rows, np.round(255 * (0.03 + 0.94 * back**1.1)).astype(np.uint8)


def confirmed(synthetic: np.ndarray, train: np.ndarray) -> list[tuple[int, int, float]]:
    """(synthetic row, training row, correlation) of images that are one exposure. Shapes: [N, 64, 64] uint8 each."""
    together = np.concatenate([synthetic, train])
    kinds = ["synthetic"] * len(synthetic) + ["train"] * len(train)
    pairs = near_pairs(together, kinds)
    return [(a, b - len(synthetic), found) for a, b, found in pairs]


def copied(context: Context, pixels: np.ndarray) -> list[tuple[int, int, float]]:
    """The best match of every copied image among the training set. Shapes: [N, 64, 64] uint8."""
    best: dict[int, tuple[int, int, float]] = {}
    for pair in confirmed(pixels, context.pixels(context.train, THUMBNAIL)):
        if pair[0] not in best or pair[2] > best[pair[0]][2]:
            best[pair[0]] = pair
    return sorted(best.values(), key=lambda pair: -pair[2])


def planted_thumbnails(planted: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """Shapes: -> [P, 64, 64] uint8."""
    return _resized(planted[1], THUMBNAIL)


def worst(context: Context, found: Neighbours) -> np.ndarray:
    """Synthetic rows nearest to a training image, nearest first."""
    return np.argsort(found.made, kind="stable")[:SHOWN]


def side_by_side(context: Context, found: Neighbours, rows: np.ndarray) -> Plot:
    """The worst offenders above their nearest training images."""
    made = context.pixels(context.synthetic.iloc[rows], PICTURE)
    theirs = context.pixels(context.train.iloc[found.made_at[rows]], PICTURE)
    captions = [f"{found.made[row] / found.limit.threshold:.2f}" for row in rows]
    caption = (
        "Synthetic radiographs nearest to a training image, each above that image; the number is its distance in units "
        "of the copy threshold, below 1 counts as a near copy"
    )
    return Plot(caption, gallery(list(zip(made, theirs, captions, strict=True))))


def listed(context: Context, found: Neighbours, rows: np.ndarray) -> Table:
    """The same as a table of files."""
    names = lambda table, row: Path(table["image"].iloc[row]).name  # noqa: E731
    lines = [
        (
            names(context.synthetic, row),
            names(context.train, found.made_at[row]),
            f"{found.made[row]:.4g}",
            _short(context.synthetic, row),
        )
        for row in rows
    ]
    return Table("Nearest to training images", ("synthetic", "training image", "distance", "prompt"), lines)


def _short(table: pd.DataFrame, row: int) -> str:
    prompt = str(table["prompt"].iloc[row])
    return prompt if len(prompt) <= 80 else f"{prompt[:77]}..."


def _neighbours(
    context: Context, made: np.ndarray, train: np.ndarray, held_out: np.ndarray, planted: np.ndarray, metric: str
) -> Neighbours:
    patients = [rows["patient_id"].to_numpy(dtype=str) for rows in (context.train, context.reference)]
    limit = copy_threshold(train, held_out, *patients, metric=metric)
    distances, places = nearest(made, train, metric=metric)
    outside = nearest(held_out, train, metric=metric)[0][:, 0]
    altered = nearest(planted, train, metric=metric)[0][:, 0]
    return Neighbours(distances[:, 0], places[:, 0], outside, altered, limit)


def _features_of(context: Context, images: np.ndarray) -> np.ndarray:
    batch = torch.from_numpy(to_model(images))[:, None].to(next(context.network.module.parameters()).device)
    return context.network(batch).features.float().cpu().numpy()


def _resized(images: np.ndarray | Sequence[np.ndarray], side: int) -> np.ndarray:
    from torchvision.transforms.v2.functional import resize_image

    return resize_image(torch.from_numpy(np.asarray(images))[:, None], [side, side], antialias=True)[:, 0].numpy()
