"""Small, anatomically harmless changes to a radiograph. Never a left-right flip: the heart's side is a finding."""

from __future__ import annotations

import torch
from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2.functional import affine

MAX_ROTATION = 4.0  # degrees
MAX_SHIFT = 0.03  # share of the side
MAX_SCALE = 0.05
MAX_LOG_GAMMA = 0.15


def augment(image: Tensor, generator: torch.Generator) -> Tensor:
    """Rotate, shift, scale and change the contrast curve a little. Shapes: [1, H, W] in [-1, 1] -> the same."""
    angle, dx, dy, zoom, gamma = (2 * torch.rand(5, generator=generator) - 1).tolist()
    side = image.shape[-1]
    # as brightness, whose zero is black: torchvision blends any other fill into a grey line along the new edge
    brightness = affine(
        (image + 1) / 2,
        angle=MAX_ROTATION * angle,
        translate=[MAX_SHIFT * side * dx, MAX_SHIFT * side * dy],
        scale=1 + MAX_SCALE * zoom,
        shear=[0.0, 0.0],
        interpolation=InterpolationMode.BILINEAR,
    )
    return 2 * brightness.clamp(0, 1) ** (2.718281828 ** (MAX_LOG_GAMMA * gamma)) - 1
