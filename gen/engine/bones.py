"""Training the baseline of bone suppression: a plain U-Net that regresses the bone layer, pixels to pixels."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from gen.data.dataset import StepBatches, load_rows
from gen.data.images import prepare
from gen.data.moments import fingerprint
from gen.data.pairs import paired_rows
from gen.engine.learner import Learner
from gen.engine.segmentation import SegmenterConfig
from gen.errors import UserError
from gen.models.bone import BoneRegressor
from gen.objectives.reconstruction import psnr
from gen.schema import DataConfig, Strict, TrainConfig

SCALE = 127.5  # grey levels of 8 bits to the model's range


class BoneRegressionJob(Strict):
    """train/bone_regression.py"""

    run: Path = Field(description="folder of states, export and metrics")
    data: DataConfig
    network: SegmenterConfig
    train: TrainConfig


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

    def __init__(self, network: BoneRegressor, pairs: Pairs, held_out: Pairs, train: TrainConfig) -> None:
        super().__init__()
        self.pairs, self.held_out, self.train_config = pairs, held_out, train
        self.trained = nn.ModuleDict({"regressor": network.to(memory_format=torch.channels_last)})

    def forward(self, batch: dict) -> dict[str, Tensor]:
        """Squared and absolute error of the bone layer. Shapes: image, soft [B, 1, S, S] in [-1, 1]."""
        bone = self.trained["regressor"].bone(batch["image"])
        truth = batch["image"] - batch["soft"]
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
