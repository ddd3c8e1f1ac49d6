"""Radiographs in memory with masks of lungs and heart, as masks tables of several collections name them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

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
    """images: uint8 [N, 1, S, S]. masks: 0, 1 or 255 (unknown), uint8 [N, K, S, S]; of STRUCTURES by default."""

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
    by_image = masks_by_image(index)
    chosen = rows[rows["image"].isin(list(by_image))].drop_duplicates("image")
    if chosen.empty:
        raise UserError(f"{index}: none of {len(rows)} rows has a mask of lungs or heart; see masks.parquet beside it")
    images = torch.zeros(len(chosen), 1, side, side, dtype=torch.uint8)
    for number, path in enumerate(chosen["image"]):
        images[number, 0] = torch.from_numpy(from_model(prepare(path, side)))
    masks = read_masks([by_image[path] for path in chosen["image"]], side)
    return SegmentedImages(images, masks, [str(path) for path in chosen["image"]])


Structures = dict[str, pd.DataFrame]


def masks_by_image(index: str | Path, structures: Sequence[str] | None = STRUCTURES) -> dict[str, Structures]:
    """The masks that each image has, by structure; images without any are left out.

    A structure is "lungs", "heart" or the beginning of a name in the masks table; None takes every name.
    """
    table = read_beside(index, "masks")
    names = known_structures(table["structure"]) if structures is None else list(structures)
    found = {str(image): _structures(part, names) for image, part in table.groupby("image")}
    return {image: part for image, part in found.items() if part}


def known_structures(names: pd.Series) -> list[str]:
    """What masks of these names show: lungs and heart by whatever name, the others by their own."""
    lower = sorted(set(names.str.lower()))
    parts = {part: whole for whole, choices in PARTS.items() for choice in choices for part in choice}
    wholes = [next((whole for part, whole in parts.items() if name.startswith(part)), name) for name in lower]
    return list(dict.fromkeys(wholes))


def read_masks(images: Sequence[Structures], side: int, structures: Sequence[str] = STRUCTURES) -> Tensor:
    """Masks on the model's square; a structure that an image lacks is unknown. Shapes: -> [N, S, side, side] uint8."""
    masks = torch.full((len(images), len(structures), side, side), UNKNOWN, dtype=torch.uint8)
    for number, parts in enumerate(tqdm(images, desc="masks", unit="", disable=None)):
        held = [(place, parts[structure]) for place, structure in enumerate(structures) if structure in parts]
        if held:
            shape = read_image(held[0][1]["image"].iloc[0], for_size=None).shape
        for place, part in held:
            masks[number, place] = _mask(part, shape, side)
    return masks


def _structures(part: pd.DataFrame, wanted: Sequence[str]) -> Structures:
    """The rows that make up each structure of one image."""
    names = part["structure"].str.lower()
    found = {}
    for structure in wanted:
        for names_of_parts in PARTS.get(structure, ((structure.lower(),),)):
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
