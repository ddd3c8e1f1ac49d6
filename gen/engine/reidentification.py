"""Training a network that knows patients again, on the patient ids of an index."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from gen import seeds
from gen.data.augment import augment_batch
from gen.data.dataset import StepBatches
from gen.data.labelled import LabelledImages
from gen.data.moments import fingerprint
from gen.engine.learner import Learner
from gen.engine.reading import auroc
from gen.errors import UserError
from gen.judges.reidentifier import Reidentifier
from gen.models.reidentifier import ReidentificationNetwork, patient_contrast
from gen.schema import DataConfig, Strict, TrainConfig


class ReidentifierConfig(Strict):
    """Shape of the network (gen.models.reidentifier.ReidentificationNetwork)."""

    backbone: str = Field("small", description="small, or a timm model: resnet50, densenet121 ...")
    widths: tuple[int, ...] = Field((16, 32, 96, 192), description="channels a stage (small)")
    blocks: tuple[int, ...] = Field((1, 2, 3, 1), description="residual blocks a stage (small)")
    features: int = Field(128, gt=0, description="length of the vector")
    resolution: int = Field(description="side of the image that the network sees, pixels")


class ReidentificationJob(Strict):
    """train/reidentify.py"""

    run: Path = Field(description="folder of states, export and metrics")
    data: DataConfig
    network: ReidentifierConfig
    reader: Path | None = Field(None, description="folder of a trained reader whose backbone is the start")
    temperature: float = Field(gt=0, description="of the contrast: smaller looks at the most similar strangers")
    follow_ups: int = Field(1, ge=1, description="patients with several images come so many times as often")
    augmentation: float = Field(2.0, ge=0, description="multiple of the small changes of gen.data.augment")
    train: TrainConfig


class ReidentificationLearner(Learner):
    """Pairs of images of one patient, a batch of patients at a time; `train.batch_size` counts patients.

    A patient with one image gives it twice, augmented in two ways.
    Errors: UserError where no patient has two images.
    """

    def __init__(
        self,
        network: ReidentificationNetwork,
        images: LabelledImages,
        held_out: LabelledImages,
        job: ReidentificationJob,
    ) -> None:
        super().__init__()
        self.images, self.held_out, self.job = images, held_out, job
        rows: dict[str, list[int]] = {}
        for row, patient in enumerate(images.patients):
            rows.setdefault(patient, []).append(row)
        self.rows = list(rows.values())
        if all(len(of) == 1 for of in self.rows):
            raise UserError("no patient of the training split has two images; re-identification is learnt from those")
        self.order = [n for n, of in enumerate(self.rows) for _ in range(job.follow_ups if len(of) > 1 else 1)]
        self.trained = nn.ModuleDict({"reidentifier": network.to(memory_format=torch.channels_last)})

    def forward(self, batch: dict) -> dict[str, Tensor]:
        """Contrast over the batch. Shapes: image [2 B, 1, S, S], patient [2 B]."""
        image, _ = augment_batch(batch["image"], self.job.augmentation)
        vectors = self.trained["reidentifier"](image)
        return {"contrast": patient_contrast(vectors, batch["patient"], self.job.temperature)}

    def batches(self, rank: int, world: int, start: int) -> Iterator[dict]:
        """Endless training batches of one rank; the position in the run seeds each patient's pair."""
        train = self.job.train
        for places in StepBatches(len(self.order), train.batch_size, train.seed, rank, world, start):
            patients = [self.order[place] for place, _ in places]
            pairs = [self._pair(patient, position) for patient, (_, position) in zip(patients, places, strict=True)]
            batch = self.images.batch([row for pair in pairs for row in pair])
            yield {"image": batch["image"], "key": batch["key"], "patient": torch.tensor(patients).repeat_interleave(2)}

    def _pair(self, patient: int, position: int) -> list[int]:
        rows = self.rows[patient]
        if len(rows) == 1:
            return rows * 2
        rng = np.random.default_rng(seeds.mix(self.job.train.seed, "pair", position))
        return [rows[place] for place in rng.permutation(len(rows))[:2]]

    def data_fingerprint(self) -> str:
        """Of the training images and whose they are."""
        return fingerprint(self.images.keys, self.images.patients)

    def validate(self, trained: nn.ModuleDict, folder: Path) -> dict[str, float]:
        """How well held-out patients are told apart."""
        return verification_figures(Reidentifier(trained["reidentifier"]), self.held_out)

    def export(self, trained: nn.ModuleDict, folder: Path) -> None:
        """The network."""
        trained["reidentifier"].save_pretrained(folder)


def verification_figures(judge: Reidentifier, images: LabelledImages) -> dict[str, float]:
    """AUROC of pairs of one patient against pairs of two, and how often the nearest other image is the patient's own.

    Empty where no patient has two images.
    """
    names = np.asarray(images.patients)
    vectors = judge.vectors(images.images.float() / 127.5 - 1)
    scores = (vectors @ vectors.T).fill_diagonal_(-torch.inf)
    same = torch.from_numpy(names[:, None] == names[None])
    upper = torch.triu(torch.ones_like(same), 1)
    known = same.sum(1) > 1
    if not known.any():
        return {}
    nearest = names[scores.argmax(1).numpy()] == names
    return {
        "auroc": auroc(scores[upper], same[upper].float()),
        "recognised": float(nearest[known.numpy()].mean()),
        "patients": float(len(set(names[known.numpy()]))),
    }
