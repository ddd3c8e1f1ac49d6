"""Training the baselines of bone suppression: plain networks that regress the bone layer, pixels to pixels."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from gen.data.augment import random_crops
from gen.data.dataset import StepBatches, load_rows
from gen.data.images import prepare
from gen.data.moments import fingerprint
from gen.data.pairs import paired_rows
from gen.engine.learner import Learner
from gen.engine.segmentation import SegmenterConfig
from gen.errors import UserError
from gen.models.bone import BoneFilters, BoneRegressor, Regressor
from gen.objectives.reconstruction import psnr
from gen.schema import DataConfig, Strict, TrainConfig

SCALE = 127.5  # grey levels of 8 bits to the model's range


class UNetConfig(SegmenterConfig):
    """A U-Net (gen.models.bone.BoneRegressor)."""

    kind: Literal["unet"]

    def build(self) -> Regressor:
        """An untrained network."""
        return BoneRegressor(("bone",), **self.model_dump(exclude={"kind"}))


class FiltersConfig(Strict):
    """Layers of filters at full resolution (gen.models.bone.BoneFilters)."""

    kind: Literal["filters"]
    widths: tuple[int, ...] = Field(description="filters a layer, but for the last, which has one")
    resolution: int = Field(description="side of the image, pixels")
    kernel: int = Field(5, ge=1, description="side of a filter, pixels")

    def build(self) -> Regressor:
        """An untrained network."""
        return BoneFilters(**self.model_dump(exclude={"kind"}))


class BoneRegressionJob(Strict):
    """train/bone_regression.py"""

    run: Path = Field(description="folder of states, export and metrics")
    data: DataConfig
    network: UNetConfig | FiltersConfig = Field(discriminator="kind")
    crop: int | None = Field(None, gt=0, description="side of the square training crop, pixels; null: whole images")
    train: TrainConfig

    @model_validator(mode="after")
    def _crop_fits(self) -> BoneRegressionJob:
        if self.crop is not None and self.crop > self.data.resolution:
            raise ValueError(f"crop {self.crop} is larger than data.resolution {self.data.resolution}")
        return self


class Pairs:
    """Radiographs and their soft-tissue images in memory. images: uint8 [N, 2, S, S]."""

    def __init__(self, config: DataConfig, split: str) -> None:
        rows = paired_rows(load_rows(config, split))
        if rows.empty:
            raise UserError(f"{config.index}: no row of split {split!r} has an image in column 'soft'")
        side = config.resolution
        self.keys = [Path(image).name for image in rows["image"]]
        self.images = torch.zeros(len(rows), 2, side, side, dtype=torch.uint8)
        places = zip(rows["image"], rows["soft"], strict=True)
        for number, pair in enumerate(tqdm(places, total=len(rows), desc=f"{split} pairs", unit="", disable=None)):
            both = np.stack([prepare(place, side) for place in pair])
            self.images[number] = torch.from_numpy(np.round((both + 1) * SCALE)).to(torch.uint8)

    def __len__(self) -> int:
        return len(self.images)

    def batch(self, rows: list[int]) -> dict[str, Tensor]:
        """Shapes: image, soft [B, 1, S, S] in [-1, 1]."""
        image, soft = (self.images[rows].float() / SCALE - 1).chunk(2, dim=1)
        return {"image": image, "soft": soft}


class BoneRegressionLearner(Learner):
    """A regressor and its pairs, for the loop."""

    def __init__(
        self, network: Regressor, pairs: Pairs, held_out: Pairs, train: TrainConfig, crop: int | None = None
    ) -> None:
        super().__init__()
        self.pairs, self.held_out, self.train_config, self.crop = pairs, held_out, train, crop
        self.trained = nn.ModuleDict({"regressor": network.to(memory_format=torch.channels_last)})

    def forward(self, batch: dict) -> dict[str, Tensor]:
        """Squared and absolute error of the bone layer. Shapes: image, soft [B, 1, S, S] in [-1, 1]."""
        both = torch.cat([batch["image"], batch["soft"]], dim=1)
        image, soft = (both if self.crop is None else random_crops(both, self.crop)).split(1, dim=1)
        bone = self.trained["regressor"].bone(image)
        truth = image - soft
        return {"squared": 10 * F.mse_loss(bone, truth), "absolute": F.l1_loss(bone, truth)}

    def batches(self, rank: int, world: int, start: int) -> Iterator[dict]:
        """Endless training batches of one rank."""
        train = self.train_config
        for rows in StepBatches(len(self.pairs), train.batch_size, train.seed, rank, world, start):
            yield self.pairs.batch([row for row, _ in rows])

    def data_fingerprint(self) -> str:
        """Of the names of the training images, in their order."""
        return fingerprint(self.pairs.keys)

    @torch.no_grad()
    def validate(self, trained: nn.ModuleDict, folder: Path) -> dict[str, float]:
        """PSNR (dB) of held-out soft-tissue images, and of the radiographs themselves."""
        network, found, idle = trained["regressor"], [], []
        for first in range(0, len(self.held_out), 16):
            batch = self.held_out.batch(list(range(first, min(first + 16, len(self.held_out)))))
            image, soft = (batch[name].to(network.device) for name in ("image", "soft"))
            output = (image - network.bone(image)).clamp(-1, 1)
            found += psnr(output, soft).tolist()
            idle += psnr(image, soft).tolist()
        return {"psnr": float(np.mean(found)), "identity_psnr": float(np.mean(idle))}

    def export(self, trained: nn.ModuleDict, folder: Path) -> None:
        """The regressor's folder."""
        trained["regressor"].save_pretrained(folder)
