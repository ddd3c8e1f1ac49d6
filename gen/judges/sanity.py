"""Whether an image can be a frontal chest radiograph at all: its grey levels, its polarity, its lungs."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gen.data.inspection import INVERTED, polarity
from gen.judges.lungs import LungSegmenter, chest_measures
from gen.judges.preparation import checked, thumbnails

BLANK = 0.04  # standard deviation of brightness, 0..1
BURNT = 0.5  # share of pixels at the brightest level
END = 1.5 / 255  # from the end of the scale
LUNGS = (0.04, 0.75)  # shares of the image that lungs of any patient and field take
ONE_SIDED = 0.95  # share of lung area on one side, from which the other lung is missing
REASONS = ("blank", "saturated", "inverted", "no lungs", "one lung")


@dataclass(frozen=True)
class Sanity:
    """What is wrong with each of B images: `reason` is "" where nothing is; the other fields are what was measured."""

    reason: tuple[str, ...]
    contrast: Tensor
    saturated: Tensor
    likeness: Tensor
    lung_area: Tensor
    right_share: Tensor

    @property
    def passed(self) -> list[bool]:
        """Whether an image is fit to be looked at."""
        return [not reason for reason in self.reason]


def sanity(images: Tensor, lungs: LungSegmenter | None = None) -> Sanity:
    """Check frontal radiographs; without a segmenter only their grey levels.

    `contrast` is the standard deviation of brightness, `saturated` the share of burnt-out pixels, `likeness` the
    correlation with a mean chest, negative for inverted images. Shapes: [B, 1, H, W] in [-1, 1] -> tensors [B].
    """
    square = checked(images)
    brightness = (square[:, 0] + 1) / 2
    unseen = torch.full((len(square),), torch.nan)
    chest = {"lung_area": unseen, "right_share": unseen} if lungs is None else chest_measures(lungs.masks(square))
    measured = {
        "contrast": brightness.std((1, 2)),
        "saturated": (brightness > 1 - END).float().mean((1, 2)),
        "likeness": likeness(square),
        "lung_area": chest["lung_area"],
        "right_share": chest["right_share"],
    }
    rows = zip(*(values.tolist() for values in measured.values()), strict=True)
    return Sanity(tuple(_reason(*row, segmented=lungs is not None) for row in rows), **measured)


def likeness(images: Tensor) -> Tensor:
    """The greater of the correlations of brightness and local contrast with a mean chest; negative where inverted.

    The rule of `cxr-index check`. Shapes: [B, 1, H, W] in [-1, 1] -> [B].
    """
    return torch.from_numpy(polarity(thumbnails(images)).max(1)).float()


def _reason(
    contrast: float, saturated: float, likeness: float, area: float, right_share: float, segmented: bool
) -> str:
    if contrast < BLANK:
        return "blank"
    if saturated > BURNT:
        return "saturated"
    if likeness < INVERTED:
        return "inverted"
    if not segmented:
        return ""
    if not LUNGS[0] <= area <= LUNGS[1]:
        return "no lungs"
    return "" if 1 - ONE_SIDED <= right_share <= ONE_SIDED else "one lung"
