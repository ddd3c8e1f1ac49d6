"""The small U-Net of the utility study: trained on masks, or on boxes as filled rectangles."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gen import seeds
from gen.data.augment import augment_batch
from gen.data.segmented import SegmentedImages
from gen.engine.segmentation import SegmenterLearner, dice
from gen.models.segmenter import ChestSegmenter
from gen.schema import TrainConfig

from .boxes import BoxedImages, box_counts
from .utility_plan import UtilityConfig
from .utility_runs import AUGMENTATION, BATCH, data_key

BOX_WEIGHT = 5.0  # of a pixel within a box, against one outside


class MaskLearner(SegmenterLearner):
    """The learner of train/segmenter.py, which here never looks at held-out images on the way."""

    def validate(self, trained: nn.ModuleDict, folder: Path) -> dict[str, float]:
        """Nothing: no setting is chosen by what it does on the way."""
        return {}


class BoxLearner(MaskLearner):
    """The same on rectangles, most of which are empty: a Dice loss would only learn to draw none."""

    def forward(self, batch: dict) -> dict[str, Tensor]:
        """Cross-entropy where boxes are known. Shapes: image [B, 1, S, S], mask, known [B, K, S, S]."""
        both = torch.cat([batch["mask"], batch["known"]], dim=1)
        image, moved = augment_batch(batch["image"], self.augmentation, both)
        mask, known = moved.round().chunk(2, dim=1)
        logits = self.trained["segmenter"](image)
        weight = known * (1 + (BOX_WEIGHT - 1) * mask)
        entropy = F.binary_cross_entropy_with_logits(logits, mask, weight, reduction="sum")
        return {"entropy": entropy / known.sum().clamp_min(1)}


def new_network(config: UtilityConfig, names: tuple[str, ...], seed: int) -> ChestSegmenter:
    """An untrained U-Net with a map for each name, the same for every setting of one seed."""
    with torch.random.fork_rng():
        torch.manual_seed(seeds.mix(seed, "utility network"))
        return ChestSegmenter(names, config.widths, config.resolution, config.patch)


def mask_learner(network: ChestSegmenter, pixels: np.ndarray, truth: np.ndarray, train: TrainConfig) -> MaskLearner:
    """A segmenter and its images, for the loop. Shapes: [N, R, R] uint8, [N, S, R, R] uint8."""
    images = SegmentedImages(_tensor(pixels), torch.from_numpy(truth), _keys(pixels, truth))
    return MaskLearner(network, images, images, train, AUGMENTATION)


def box_learner(network: ChestSegmenter, pixels: np.ndarray, truth: np.ndarray, train: TrainConfig) -> BoxLearner:
    """A detector and its images, for the loop; those with a box are repeated until they are about half.

    Shapes: [N, R, R] uint8, [N, K, MOST, 4].
    """
    boxed = np.flatnonzero(box_counts(truth).any(1))
    times = len(truth) // len(boxed) - 1 if len(boxed) else 0
    order = np.r_[np.arange(len(truth)), np.tile(boxed, times)]
    keys = _keys(pixels, truth)
    images = BoxedImages(_tensor(pixels[order]), truth[order], [keys[place] for place in order])
    return BoxLearner(network, images, images, train, AUGMENTATION)


@torch.inference_mode()
def maps_of(network: ChestSegmenter, pixels: np.ndarray) -> Tensor:
    """Probabilities of every pixel. Shapes: [N, R, R] uint8 -> [N, K, R, R]."""
    network.eval()
    parts = [part.to(network.device).float() / 127.5 - 1 for part in _tensor(pixels).split(BATCH)]
    return torch.cat([network.probabilities(part).cpu() for part in parts])


def mask_scores(maps: Tensor, masks: np.ndarray) -> np.ndarray:
    """Dice of each structure that is there. Shapes: [N, S, R, R], masks 0, 1, 255 -> [N, S]."""
    there = torch.from_numpy((masks == 1).any((2, 3)))
    return torch.where(there, dice(maps, torch.from_numpy(masks)), torch.nan).numpy()


def _tensor(pixels: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(pixels))[:, None]


def _keys(pixels: np.ndarray, truth: np.ndarray) -> list[str]:
    return [data_key(*pair) for pair in zip(pixels, truth, strict=True)]
