"""Boxes of findings on the model's square: from the table beside an index, or around the masks of phantoms.

One array holds what is known of a set: NaN for a box that is not there, and UNKNOWN for a finding of which nothing is
told: an image whose label names it without a box, or a data set that never draws it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from gen.data.annotations import read_beside
from gen.data.images import read_image
from gen.data.vocabulary import normalise_findings

from .readings import truth_matrix

UNKNOWN = -1.0
MOST = 8  # boxes of one finding in one image; the largest count
LEAST = 30  # pixels of a phantom's finding
HEART = "cardiomegaly"  # whose box, as in NIH's table, is the whole heart

Box = tuple[float, float, float, float]
Boxes = dict[str, dict[str, list[Box]]]  # by image and finding, in shares of the square's side


def drawn_boxes(rows: pd.DataFrame, index: Path) -> Boxes:
    """Boxes of every row's image that has any. Errors: UserError where the index has no boxes beside it."""
    return _phantom_boxes(rows, index.parent) if "masks" in rows else _table_boxes(rows, index)


def box_truth(rows: pd.DataFrame, boxes: Boxes, names: Sequence[str]) -> np.ndarray:
    """What is known of some findings. Shapes: -> [N, K, MOST, 4] float32 as x0, y0, x1, y1."""
    drawn = {name for found in boxes.values() for name in found}
    told = (rows["findings"] != "").to_numpy()[:, None] & ~truth_matrix(rows["findings"], names)
    absent = told & np.array([name in drawn for name in names])
    truth = np.where(absent[:, :, None, None], np.nan, UNKNOWN) * np.ones((1, 1, MOST, 4))
    for number, image in enumerate(rows["image"]):
        for name, found in boxes.get(image, {}).items():
            if name in names:
                largest = sorted(found, key=_area, reverse=True)[:MOST]
                truth[number, names.index(name)] = np.nan
                truth[number, names.index(name), : len(largest)] = largest
    return truth.astype(np.float32)


def is_known(truth: np.ndarray) -> np.ndarray:
    """Findings of which boxes, or their absence, are known. Shapes: [..., MOST, 4] -> [...] bool."""
    return truth[..., 0, 0] != UNKNOWN


def box_counts(truth: np.ndarray) -> np.ndarray:
    """Boxes of a finding, none where nothing is known. Shapes: [..., MOST, 4] -> [...] int."""
    return np.where(is_known(truth), np.isfinite(truth[..., 0]).sum(-1), 0)


def labelled_where_drawn(rows: pd.DataFrame, boxes: Boxes) -> np.ndarray:
    """Rows with a box, and labelled ones of the sources that draw boxes. Shapes: -> [N] bool."""
    drawn = rows["image"].isin(list(boxes)).to_numpy()
    sources = rows["source"].to_numpy() if "source" in rows else np.zeros(len(rows))
    return drawn | ((rows["findings"] != "").to_numpy() & np.isin(sources, np.unique(sources[drawn])))


@dataclass(frozen=True)
class BoxedImages:
    """Images in memory whose boxes are drawn as filled rectangles. Shapes: uint8 [N, 1, S, S], [N, K, MOST, 4]."""

    images: Tensor
    boxes: np.ndarray
    keys: list[str]

    def __len__(self) -> int:
        return len(self.images)

    def batch(self, rows: list[int]) -> dict:
        """Some rows for the loop: image in [-1, 1], mask and known as 0 or 1 [B, K, S, S]."""
        side = self.images.shape[-1]
        known = torch.from_numpy(is_known(self.boxes[rows])).float()[:, :, None, None].expand(-1, -1, side, side)
        return {
            "image": self.images[rows].float() / 127.5 - 1,
            "mask": torch.from_numpy(filled(self.boxes[rows], side)),
            "known": known,
            "key": [self.keys[row] for row in rows],
        }


def filled(boxes: np.ndarray, side: int) -> np.ndarray:
    """Rectangles as maps of 0 and 1; each covers at least one pixel. Shapes: [B, K, MOST, 4] -> [B, K, side, side]."""
    maps = np.zeros((*boxes.shape[:2], side, side), np.float32)
    there = np.isfinite(boxes[..., 0]) & is_known(boxes)[..., None]
    for image, finding, place in np.argwhere(there):
        x0, y0, x1, y1 = boxes[image, finding, place] * side
        left, top = min(int(x0), side - 1), min(int(y0), side - 1)
        maps[image, finding, top : max(top + 1, round(float(y1))), left : max(left + 1, round(float(x1)))] = 1
    return maps


def _table_boxes(rows: pd.DataFrame, index: Path) -> Boxes:
    table = read_beside(index, "boxes")
    shapes = {row["image"]: _shape(row) for row in rows[rows["image"].isin(table["image"])].to_dict("records")}
    boxes: Boxes = {}
    for image, label, *box in table[["image", "label", "x0", "y0", "x1", "y1"]].itertuples(index=False):
        for name in normalise_findings(label)[:1] if image in shapes else ():
            boxes.setdefault(image, {}).setdefault(name, []).append(on_square(box, *shapes[image]))
    return boxes


def on_square(box: Sequence[float], height: int, width: int) -> Box:
    """A box in pixels of its image as shares of the side of the square that the image is padded to."""
    side = max(height, width)
    left, top = (side - width) // 2, (side - height) // 2
    x0, y0, x1, y1 = np.clip(box, 0, (width, height) * 2)
    return (x0 + left) / side, (y0 + top) / side, (x1 + left) / side, (y1 + top) / side


def _shape(row: dict) -> tuple[int, int]:
    height, width = row.get("height", 0), row.get("width", 0)
    if height > 0 and width > 0:
        return int(height), int(width)
    height, width = read_image(row["image"], for_size=None).shape
    return height, width


def _phantom_boxes(rows: pd.DataFrame, folder: Path) -> Boxes:
    from gen.phantom.cohort import FINDING_NAMES, read_mask
    from gen.phantom.findings import LABELS

    drawn = [(LABELS[name.removesuffix("_right").removesuffix("_left")], name) for name in FINDING_NAMES]
    drawn.append((LABELS[HEART], "heart"))
    boxes: Boxes = {}
    for image, file, findings in zip(rows["image"], rows["masks"], rows["findings"], strict=True):
        for label, name in drawn:
            mask = read_mask(folder / file, name) if label in findings.split(";") else np.zeros(0)
            if mask.sum() >= LEAST:
                boxes.setdefault(image, {}).setdefault(label, []).append(_around(mask))
    return boxes


def _around(mask: np.ndarray) -> Box:
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return on_square((columns[0], rows[0], columns[-1] + 1, rows[-1] + 1), *mask.shape)


def _area(box: Box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])
