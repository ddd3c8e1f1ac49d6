"""Where the lungs and the heart are, and measures of the chest that follow from it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from scipy.ndimage import label
from torch import Tensor, nn

from gen.judges.loading import WEIGHTS, load_network, network_fingerprint
from gen.judges.preparation import checked
from gen.models.segmenter import ChestSegmenter

SHIPPED_LUNGS = WEIGHTS / "lungs"
BATCH = 16  # images a call
SEEN = 0.5  # probability from which a pixel belongs to a structure
PARTS = (2, 1)  # of lungs and heart
FEW = 0.01  # of the side: a column with fewer pixels of a structure is a stray one


class LungSegmenter:
    """The shipped segmenter of lungs and heart, or another network with `structures` and `probabilities`."""

    def __init__(self, network: nn.Module, fingerprint: str = "untrained") -> None:
        self.network = network.eval().to(memory_format=torch.channels_last)  # a third faster on a CPU
        self.structures = network.structures
        self.fingerprint = fingerprint

    @classmethod
    def load(cls, folder: str | Path | None = None) -> LungSegmenter:
        """From a folder of train/segmenter.py; None takes the shipped one.

        Errors: UserError for a folder without a usable segmenter.
        """
        folder = Path(folder or SHIPPED_LUNGS)
        return cls(load_network(ChestSegmenter, folder), network_fingerprint(folder))

    def to(self, device: str | torch.device) -> LungSegmenter:
        """Move the network; images may be anywhere."""
        self.network.to(device)
        return self

    @torch.inference_mode()
    def masks(self, images: Tensor) -> Tensor:
        """Probabilities of lungs and heart at the images' own size. Shapes: [B, 1, H, W] in [-1, 1] -> [B, 2, H, W].

        Errors: ValueError for another shape or range.
        """
        parts = [self._masks(part) for part in images.split(BATCH)] if len(images) else [images.expand(-1, 2, -1, -1)]
        return torch.cat(parts)

    def _masks(self, images: Tensor) -> Tensor:
        height, width = images.shape[-2:]
        square = checked(images).to(next(self.network.parameters()).device)
        side = square.shape[-1]
        top, left = (side - height) // 2, (side - width) // 2
        masks = self.network.probabilities(square)[..., top : top + height, left : left + width].cpu()
        return without_strays(masks)


def without_strays(masks: Tensor) -> Tensor:
    """Leave of the lungs the two largest parts, of the heart the largest: a bed rail is no lung.

    What lies outside them falls to half its probability, so below `SEEN`. Shapes: [B, 2, H, W] -> the same.
    """
    kept = [_largest(mask.numpy() > SEEN, count) for image in masks for mask, count in zip(image, PARTS, strict=True)]
    inside = torch.from_numpy(np.stack(kept)).view(masks.shape)
    return torch.where(inside | (masks <= SEEN), masks, masks / 2)


def _largest(mask: np.ndarray, count: int) -> np.ndarray:
    """The `count` largest connected parts of a mask. Shapes: [H, W] bool -> [H, W] bool."""
    numbers = np.zeros(mask.shape, dtype=np.int32)
    label(mask, output=numbers)
    if numbers.max() <= count:
        return mask
    sizes = np.bincount(numbers.ravel())[1:]
    return np.isin(numbers, np.argsort(-sizes)[:count] + 1)


def chest_measures(masks: Tensor) -> dict[str, Tensor]:
    """Measures of the chest from probabilities or masks of lungs and heart; NaN where a structure is not seen.

    lung_area, heart_area: shares of the image. cardiothoracic_ratio: greatest width of the heart over that of the lungs
    (Danzer 1919). right_share: the share of lung area on the patient's right, which is the image's left. asymmetry:
    |2 right_share - 1|. lung_height, lung_width: extents as shares of the side. Frontal views only.
    Shapes: [B, 2, H, W] -> tensors [B].
    """
    lungs, heart = (masks > SEEN).float().unbind(1)
    lung_left, lung_right = _extent(lungs)
    heart_left, heart_right = _extent(heart)
    top, bottom = _extent(lungs.transpose(1, 2))
    right_share = _share_left_of(lungs, (lung_left + lung_right) / 2)
    return {
        "lung_area": lungs.mean((1, 2)),
        "heart_area": heart.mean((1, 2)),
        "lung_width": (lung_right - lung_left) / lungs.shape[2],
        "lung_height": (bottom - top) / lungs.shape[1],
        "cardiothoracic_ratio": (heart_right - heart_left) / (lung_right - lung_left),
        "right_share": right_share,
        "asymmetry": (2 * right_share - 1).abs(),
    }


def _extent(mask: Tensor) -> tuple[Tensor, Tensor]:
    """First column of a structure and the one after its last, NaN where there is none. [B, H, W] -> [B], [B]."""
    height, width = mask.shape[1:]
    filled = mask.sum(1) > FEW * height
    columns = torch.arange(width, device=mask.device, dtype=torch.float32)
    first = torch.where(filled, columns, torch.inf).amin(1)
    last = torch.where(filled, columns, -torch.inf).amax(1) + 1
    seen = filled.any(1)
    return first.where(seen, torch.nan), last.where(seen, torch.nan)


def _share_left_of(mask: Tensor, column: Tensor) -> Tensor:
    """Share of a structure's area left of a column, one an image. Shapes: [B, H, W], [B] -> [B]."""
    centres = torch.arange(mask.shape[2], device=mask.device) + 0.5
    weights = (column[:, None] - centres + 0.5).clamp(0, 1)  # a column that the line cuts counts in part
    by_column = mask.sum(1)
    return (by_column * weights).sum(1) / by_column.sum(1)
