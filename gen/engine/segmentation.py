"""Training the segmenter of lungs and heart: on real masks and on those of phantoms."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from gen.data.augment import augment_batch
from gen.data.dataset import StepBatches
from gen.data.images import from_model, prepare
from gen.data.index import read_index
from gen.data.moments import fingerprint
from gen.data.segmented import STRUCTURES, UNKNOWN, SegmentedImages
from gen.engine.learner import Learner
from gen.models.segmenter import ChestSegmenter
from gen.phantom.cohort import BITS, read_mask
from gen.schema import DataConfig, Strict, TrainConfig

RECESS = 0.25  # of a lung's height: how far a phantom's lung reaches below the dome that one sees
SHOWN = 8


class SegmenterConfig(Strict):
    """Shape of the network (gen.models.segmenter.ChestSegmenter)."""

    widths: tuple[int, ...] = Field(description="channels a level, finest first")
    resolution: int = Field(description="side of the image, pixels")
    patch: int = Field(2, ge=1, description="pixels folded into channels before the first layer, a side")


class SegmenterJob(Strict):
    """train/segmenter.py"""

    run: Path = Field(description="folder of states, export and metrics")
    data: DataConfig
    phantom: Path | None = Field(None, description="index of phantoms, with their masks")
    real_repeats: int = Field(1, gt=0, description="times that every real image counts against a phantom")
    network: SegmenterConfig
    augmentation: float = Field(3.0, ge=0, description="multiple of the small changes of gen.data.augment")
    train: TrainConfig


class SegmenterLearner(Learner):
    """A segmenter and its images, for the loop."""

    def __init__(
        self,
        network: ChestSegmenter,
        images: SegmentedImages,
        held_out: SegmentedImages,
        train: TrainConfig,
        augmentation: float,
    ) -> None:
        super().__init__()
        self.images, self.held_out = images, held_out
        self.train_config, self.augmentation = train, augmentation
        self.trained = nn.ModuleDict({"segmenter": network.to(memory_format=torch.channels_last)})

    def forward(self, batch: dict) -> dict[str, Tensor]:
        """Cross-entropy and Dice loss where the mask is known. Shapes: image [B, 1, S, S], mask, known [B, 2, S, S]."""
        image, moved = augment_batch(
            batch["image"], self.augmentation, torch.cat([batch["mask"], batch["known"]], dim=1)
        )
        mask, known = moved.round().chunk(2, dim=1)
        logits = self.trained["segmenter"](image)
        entropy = F.binary_cross_entropy_with_logits(logits, mask, reduction="none")
        return {"entropy": (entropy * known).sum() / known.sum().clamp_min(1), "dice": dice_loss(logits, mask, known)}

    def batches(self, rank: int, world: int, start: int) -> Iterator[dict]:
        """Endless training batches of one rank."""
        train = self.train_config
        for rows in StepBatches(len(self.images), train.batch_size, train.seed, rank, world, start):
            yield self.images.batch([row for row, _ in rows])

    def data_fingerprint(self) -> str:
        """Of the names of the training images, in their order."""
        return fingerprint([Path(key).name for key in self.images.keys])

    def validate(self, trained: nn.ModuleDict, folder: Path) -> dict[str, float]:
        """Mean Dice a structure on held-out images, and a picture of some of them."""
        probabilities = predicted(trained["segmenter"], self.held_out)
        overlays(self.held_out.images[:SHOWN], probabilities[:SHOWN]).save(folder / "masks.png")
        return mean_dice(probabilities, self.held_out.masks)

    def export(self, trained: nn.ModuleDict, folder: Path) -> None:
        """The segmenter's folder."""
        trained["segmenter"].save_pretrained(folder)


def dice_loss(logits: Tensor, mask: Tensor, known: Tensor) -> Tensor:
    """1 - soft Dice, mean over the structures that an image knows (Milletari et al., arXiv 1606.04797)."""
    probability, mask = logits.sigmoid() * known, mask * known
    overlap = 2 * (probability * mask).sum((2, 3)) + 1
    dice = overlap / (probability.sum((2, 3)) + mask.sum((2, 3)) + 1)
    told = (known.sum((2, 3)) > 0).float()
    return ((1 - dice) * told).sum() / told.sum().clamp_min(1)


def dice(probabilities: Tensor, masks: Tensor) -> Tensor:
    """Dice coefficient of probabilities above a half with known pixels of masks; NaN where no pixel is known.

    Shapes: [N, S, H, W], masks 0, 1, 255 -> [N, S].
    """
    known = masks != UNKNOWN
    found, true = (probabilities > 0.5) & known, (masks == 1) & known
    overlap = (found & true).sum((2, 3)).float()
    return torch.where(known.any(3).any(2), 2 * overlap / (found.sum((2, 3)) + true.sum((2, 3))), torch.nan)


def mean_dice(probabilities: Tensor, masks: Tensor) -> dict[str, float]:
    """Mean over the images that know a structure, by structure; structures that none knows are left out."""
    means = dice(probabilities, masks).nanmean(0).tolist()
    return {f"dice {name}": mean for name, mean in zip(STRUCTURES, means, strict=True) if not np.isnan(mean)}


@torch.no_grad()
def predicted(network: ChestSegmenter, images: SegmentedImages, batch: int = 16) -> Tensor:
    """Probabilities of all images on the CPU. Shapes: -> [N, 2, S, S]."""
    parts = images.images.split(batch)
    return torch.cat([network.probabilities((p.to(network.device).float() / 127.5) - 1).cpu() for p in parts])


def overlays(images: Tensor, probabilities: Tensor) -> Image.Image:
    """Images side by side with the outlines of lungs (green) and heart (red). uint8 [N, 1, S, S], [N, 2, S, S]."""
    colours = images.expand(-1, 3, -1, -1).clone()
    for structure, colour in enumerate(((40, 230, 90), (255, 70, 70))):
        inside = (probabilities[:, structure : structure + 1] > 0.5).float()
        edge = (inside - (1 - F.max_pool2d(1 - inside, 3, 1, 1))) > 0
        colours = torch.where(edge, torch.tensor(colour, dtype=torch.uint8)[None, :, None, None], colours)
    return Image.fromarray(torch.cat(list(colours), dim=2).permute(1, 2, 0).numpy())


def load_phantoms(index: Path, side: int) -> SegmentedImages:
    """Frontal phantoms with their lungs and heart, as `phantom_masks` draws them."""
    rows = read_index(index)
    rows = rows[rows["view"] != "LATERAL"]
    images = torch.zeros(len(rows), 1, side, side, dtype=torch.uint8)
    for number, image in enumerate(tqdm(rows["image"], desc="phantoms", unit="", disable=None)):
        images[number, 0] = torch.from_numpy(from_model(prepare(image, side)))
    masks = phantom_masks([index.parent / file for file in rows["masks"]], side)
    return SegmentedImages(images, masks, [str(path) for path in rows["image"]])


def phantom_masks(files: Sequence[Path], side: int, structures: Sequence[str] = STRUCTURES) -> Tensor:
    """Masks of phantoms' lungs, organs, devices or kinds of findings. Shapes: -> [N, S, side, side] uint8.

    A phantom's lung is everything that the lung projects on, also behind the diaphragm's dome, where readers draw none:
    the lowest quarter of its lungs is therefore unknown, and so is a structure that phantoms do not have.
    """
    masks = torch.full((len(files), len(structures), side, side), UNKNOWN, dtype=torch.uint8)
    for place, structure in enumerate(structures):
        for number, file in enumerate(files if phantom_parts(structure) else ()):
            masks[number, place] = _resized(_phantom_mask(file, structure), side)
    return masks


def phantom_parts(structure: str) -> tuple[str, ...]:
    """The names in a phantom's mask file that make up a structure; none for one that phantoms do not have."""
    if structure == "lungs":
        return "lung_right", "lung_left"
    return tuple(name for name in BITS if name in (structure, f"{structure}_right", f"{structure}_left"))


def _phantom_mask(file: Path, structure: str) -> np.ndarray:
    masks = [read_mask(file, name) for name in phantom_parts(structure)]
    drawn = [_phantom_lung(mask) if structure == "lungs" else mask.astype(np.uint8) for mask in masks]
    return np.max(drawn, axis=0)


def _phantom_lung(mask: np.ndarray) -> np.ndarray:
    """One lung with its lowest part, and all that lies beside it, unknown. Shapes: [H, W] bool -> [H, W] uint8."""
    values = mask.astype(np.uint8)
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if len(rows):
        height = rows[-1] + 1 - rows[0]
        part = values[rows[-1] + 1 - int(RECESS * height) : rows[-1] + 1, columns[0] : columns[-1] + 1]
        part[part == 1] = UNKNOWN
    return values


def _resized(mask: np.ndarray, side: int) -> Tensor:
    return F.interpolate(torch.from_numpy(mask)[None, None], (side, side), mode="nearest")[0, 0]
