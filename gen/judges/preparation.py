"""Radiographs as judges take them: square, in range; and as thumbnails."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from gen.data.looks import THUMBNAIL


def checked(images: Tensor) -> Tensor:
    """Radiographs as judges take them, padded to a square with black. Shapes: [B, 1, H, W] -> [B, 1, S, S] float32.

    Errors: ValueError for another shape or values far outside [-1, 1].
    """
    if images.ndim != 4 or images.shape[1] != 1:
        raise ValueError(f"images must be [B, 1, H, W], got {tuple(images.shape)}")
    if images.numel() and not -1.5 <= float(images.min()) <= float(images.max()) <= 1.5:
        raise ValueError(f"images must lie in [-1, 1], got {float(images.min()):.3g} to {float(images.max()):.3g}")
    height, width = images.shape[-2:]
    side = max(height, width)
    top, left = (side - height) // 2, (side - width) // 2
    return F.pad(images.float(), (left, side - width - left, top, side - height - top), value=-1.0)


def thumbnails(images: np.ndarray | Tensor) -> np.ndarray:
    """Small images for gen.data.inspection and gen.data.duplicates. [N, 1, H, W] in [-1, 1] -> [N, 64, 64] uint8."""
    square = checked(torch.as_tensor(images))
    small = F.interpolate(square, (THUMBNAIL, THUMBNAIL), mode="bilinear", antialias=True)[:, 0]
    return ((small + 1) * 127.5).round().clamp(0, 255).to(torch.uint8).cpu().numpy()
