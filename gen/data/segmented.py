"""Radiographs in memory with masks of lungs and heart, as masks tables of several collections name them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from gen.data.annotations import read_beside, read_mask
from gen.data.images import from_model, pad_to_square, prepare, read_image
from gen.errors import UserError

STRUCTURES = ("lungs", "heart")
# masks that together make a structure, by the beginning of their lower-case name; a set is complete or does not count
PARTS: dict[str, tuple[tuple[str, ...], ...]] = {
    "lungs": (("lungs",), ("left_lung", "right_lung"), ("lung_left", "lung_right"), ("left lung", "right lung")),
    "heart": (("heart",),),
}
SQUARE_ONLY = "central square only"  # outside it a mask is not drawn, whatever the image shows
UNKNOWN = 255


@dataclass(frozen=True)
class SegmentedImages:
    """images: uint8 [N, 1, S, S]. masks: 0, 1 or 255 (unknown), uint8 [N, 2, S, S], in the order of STRUCTURES."""

    images: Tensor
    masks: Tensor
    keys: list[str]

    def __len__(self) -> int:
        return len(self.images)

    def batch(self, rows: list[int]) -> dict:
        """Some rows for the loop: image in [-1, 1], mask and known as 0 or 1."""
        masks = self.masks[rows]
        known = masks != UNKNOWN
        image = self.images[rows].float() / 127.5 - 1
        return {
            "image": image,
            "mask": (known & (masks == 1)).float(),
            "known": known.float(),
            "key": self.keys_of(rows),
        }

    def keys_of(self, rows: list[int]) -> list[str]:
        """Names of some rows."""
        return [self.keys[row] for row in rows]

    def __add__(self, other: SegmentedImages) -> SegmentedImages:
        images, masks = (torch.cat(pair) for pair in ((self.images, other.images), (self.masks, other.masks)))
        return SegmentedImages(images, masks, self.keys + other.keys)

    def repeated(self, times: int) -> SegmentedImages:
        """The same images several times, so that few real ones weigh as much as many drawn ones."""
        return SegmentedImages(self.images.repeat(times, 1, 1, 1), self.masks.repeat(times, 1, 1, 1), self.keys * times)


def load_segmented(index: str, rows: pd.DataFrame, side: int) -> SegmentedImages:
    """The rows that have a mask of lungs or heart in the masks table beside their index, at `side` pixels.

    Errors: UserError where none has.
    """
    table = read_beside(index, "masks")
    by_image = {str(image): part for image, part in table.groupby("image") if _structures(part)}
    chosen = rows[rows["image"].isin(list(by_image))].drop_duplicates("image")
    if chosen.empty:
        raise UserError(f"{index}: none of {len(rows)} rows has a mask of lungs or heart; see masks.parquet beside it")
    images = torch.zeros(len(chosen), 1, side, side, dtype=torch.uint8)
    masks = torch.full((len(chosen), len(STRUCTURES), side, side), UNKNOWN, dtype=torch.uint8)
    for number, path in enumerate(tqdm(chosen["image"], desc="masks", unit="", disable=None)):
        images[number, 0] = torch.from_numpy(from_model(prepare(path, side)))
        shape = read_image(path, for_size=None).shape
        for structure, part in _structures(by_image[path]).items():
            masks[number, STRUCTURES.index(structure)] = _mask(part, shape, side)
    return SegmentedImages(images, masks, [str(path) for path in chosen["image"]])


def _structures(part: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The rows that make up each structure of one image."""
    names = part["structure"].str.lower()
    found = {}
    for structure, choices in PARTS.items():
        for names_of_parts in choices:
            rows = [part[names.str.startswith(name)] for name in names_of_parts]
            if all(len(one) for one in rows) and structure not in found:
                found[structure] = pd.concat(rows)
    return found


def _mask(part: pd.DataFrame, shape: tuple[int, int], side: int) -> Tensor:
    """The union of masks on the model's square, 255 where it is not drawn. Shapes: -> [side, side] uint8."""
    union = np.any([read_mask(row, shape) for row in part.to_dict("records")], axis=0)
    drawn = np.ones(shape, dtype=bool)
    if part["structure"].str.contains(SQUARE_ONLY, regex=False).any():
        drawn[:] = False
        height, width = shape
        inner = min(shape)
        top, left = (height - inner) // 2, (width - inner) // 2
        drawn[top : top + inner, left : left + inner] = True
    mask, seen = (_shrunk(array, side) for array in (union, drawn))
    # beyond the film there is nothing
    film = _shrunk(np.ones(shape, dtype=bool), side)
    return torch.where(film & ~seen, torch.tensor(UNKNOWN, dtype=torch.uint8), mask.to(torch.uint8))


def _shrunk(mask: np.ndarray, side: int) -> Tensor:
    square = torch.from_numpy(pad_to_square(mask.astype(np.float32)))[None, None]
    return F.interpolate(square, (side, side), mode="bilinear", antialias=True)[0, 0] > 0.5
