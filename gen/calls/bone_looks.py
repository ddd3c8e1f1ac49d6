"""The mean of what a bone model finds in several looks at one radiograph: moved a little, or closer.

Errors that hang on where the grid of a network lies differ from look to look, bone does not. Never mirrored: a chest
has its heart on one side.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from gen.data.images import model_pixels
from gen.errors import UserError


@dataclass(frozen=True)
class Look:
    """Side of the image in sides of the model, no closer than its own pixels are, and how far it is moved, pixels."""

    scale: float
    right: int
    down: int


LOOKS = (
    Look(1.0, 0, 0),
    Look(1.25, 3, -5),
    Look(1.125, -6, 2),
    Look(1.5, 5, 7),
    Look(1.0, 4, 4),
    Look(1.25, -2, 6),
    Look(1.125, 7, -3),
    Look(1.0, -3, -6),
)


def averaged(
    layers: Callable[[Tensor], Tensor], image: np.ndarray, resolution: int, multiple: int, count: int
) -> Tensor:
    """Mean bone layer of the first `count` looks, padded to a square, at the size of the closest; one at a time.

    `multiple` is what the sides of the network's input must divide by. Shapes: [H, W] in 0..1 -> [S, S] of brightness.
    Errors: UserError for a number of looks that there is not.
    """
    if not 1 <= count <= len(LOOKS):
        raise UserError(f"looks={count}: between 1 and {len(LOOKS)}")
    largest = max(resolution, max(image.shape))  # a look that is closer than the image's own pixels shows nothing new
    scales = [min(look.scale, largest / resolution) for look in LOOKS[:count]]
    sides = [multiple * max(1, round(scale * resolution / multiple)) for scale in scales]
    total = torch.zeros(max(sides), max(sides))
    for look, side in zip(LOOKS, sides, strict=False):
        pixels = torch.from_numpy(model_pixels(image, side))[None, None]
        found = moved(layers(moved(pixels, look.right, look.down))[:, None], -look.right, -look.down)
        total += F.interpolate(found, total.shape, mode="bilinear", align_corners=False)[0, 0]
    return total / count


def moved(images: Tensor, right: int, down: int) -> Tensor:
    """Moved within their frame; what comes in repeats the edge. Shapes: [B, C, H, W] -> the same."""
    height, width = images.shape[-2:]
    margins = (max(right, 0), max(-right, 0), max(down, 0), max(-down, 0))
    padded = F.pad(images, margins, mode="replicate")
    return padded[..., max(-down, 0) :, max(-right, 0) :][..., :height, :width]
