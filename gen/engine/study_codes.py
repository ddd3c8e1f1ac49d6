"""Training a coder of studies: views of one study lie close together, those of two patients far apart."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from pydantic import Field
from torch import Tensor, nn

from gen.data.augment import move_latents
from gen.data.dataset import collate
from gen.data.linked import SEPARATOR, Needs
from gen.engine.learner import DatasetLearner, coded_datasets
from gen.engine.loop import to_device
from gen.judges.study import nearer_than_strangers
from gen.models.loading import load_codec
from gen.models.reidentifier import patient_contrast
from gen.models.study import Study, read_study
from gen.models.study_code import StudyCoder
from gen.schema import DataConfig, Strict, TrainConfig
from gen.tasks.latents import target_latents, with_link_latents
from gen.tasks.view import ViewTask

BATCH = 64  # held-out images a call


class StudyCoderConfig(Strict):
    """Shape of the network (gen.models.study_code.StudyCoder)."""

    width: int = Field(
        32, gt=0, multiple_of=8, description="channels of the first map; the others have 2 and 3 times as many"
    )
    features: int = Field(64, gt=0, description="length of the code")
    dropout: float = Field(0.2, ge=0, lt=1, description="share of the last map that training leaves out")


class StudyCodeJob(Strict):
    """train/study_code.py"""

    run: Path = Field(description="folder of states, export and metrics")
    data: DataConfig
    codec: Path = Field(description="folder of the codec whose latents it reads, the view model's own")
    network: StudyCoderConfig = StudyCoderConfig()
    temperature: float = Field(0.1, gt=0, description="of the contrast: smaller looks at the most similar strangers")
    part_drop: float = Field(0.2, ge=0, lt=1, description="probability that an image of the context is left out")
    augmentation: float = Field(2.0, ge=0, description="multiple of the small movements of gen.data.augment")
    train: TrainConfig


class StudyCodeLearner(DatasetLearner):
    """Images and the other views of their studies: the code of each image against the one code of all of its others."""

    def __init__(self, job: StudyCodeJob) -> None:
        super().__init__()
        self.job = job
        self.codec = load_codec(job.codec).requires_grad_(False).eval()
        needs = Needs(columns=(*ViewTask.needs.columns, "patient_id"), links=ViewTask.needs.links)
        self.dataset, self.held_out = coded_datasets(job, self.codec, needs, several_views)
        channels, resolution = self.codec.latent_shape(job.data.resolution)[0], job.data.resolution
        coder = StudyCoder(channels, resolution=resolution, **job.network.model_dump())
        self.trained = nn.ModuleDict({"coder": coder})

    def forward(self, batch: dict) -> dict[str, Tensor]:
        """Contrast over a batch of moments, or of pixels where no moments are cached."""
        with torch.no_grad():
            image, study = self._read(batch)
            study = thinned(study, self.job.part_drop)
            image, given = (move_latents(x, self.job.augmentation) for x in (image, study.latents.flatten(0, 1)))
        study = replace(study, latents=given.view_as(study.latents))
        codes = torch.cat(codes_of(self.trained["coder"], image, study)).float()
        patients = numbers(batch["patient_id"]).repeat(2).to(codes.device)
        return {"contrast": patient_contrast(codes, patients, self.job.temperature)}

    def _read(self, batch: dict) -> tuple[Tensor, Study]:
        batch = with_link_latents(self.codec, batch)
        return target_latents(self.codec, batch), read_study(batch, SEPARATOR)

    @torch.no_grad()
    def validate(self, trained: nn.ModuleDict, folder: Path) -> dict[str, float]:
        """`recognition` of held-out images among the codes of the others' studies."""
        codes, patients = [], []
        for first in range(0, len(self.held_out), BATCH):
            rows = range(first, min(first + BATCH, len(self.held_out)))
            batch = to_device(collate([self.held_out[row, row] for row in rows]), self.codec.device)
            codes.append(codes_of(trained["coder"], *self._read(batch)))
            patients += batch["patient_id"]
        images, others = (torch.cat(side).cpu() for side in zip(*codes, strict=True))
        return recognition(images, others, numbers(patients))

    def export(self, trained: nn.ModuleDict, folder: Path) -> None:
        """The coder's folder, with the codec whose latents it reads."""
        trained["coder"].save_pretrained(folder)
        self.codec.save_pretrained(folder / "vae")


def several_views(rows: pd.DataFrame, config: DataConfig) -> pd.DataFrame:
    """The rows whose study has other images, with those as their context."""
    rows = ViewTask.rows(rows, config)
    return rows[rows["context"] != ""]


def thinned(study: Study, probability: float) -> Study:
    """Images of the context left out with this probability; of a row that would lose all, none."""
    mask = study.mask & (torch.rand(study.mask.shape, device=study.mask.device) >= probability)
    return replace(study, mask=torch.where(mask.any(1, keepdim=True), mask, study.mask))


def codes_of(coder: StudyCoder, image: Tensor, study: Study) -> tuple[Tensor, Tensor]:
    """Codes of images and of their contexts. Shapes: image [B, c, h, w] -> 2 x [B, D]."""
    return coder(image, study.angle), coder.of_study(study.latents, study.mask, study.angles)


def numbers(patients: list[str]) -> Tensor:
    """A number a patient. Shapes: -> [N]."""
    return torch.from_numpy(np.unique(patients, return_inverse=True)[1])


def recognition(images: Tensor, others: Tensor, patients: Tensor) -> dict[str, float]:
    """How often an image's own study is nearer than another patient's (a half is chance), and how often the nearest.

    Shapes: codes [N, D] of images and of the other views of their studies, patients [N].
    """
    similarity, strangers = images @ others.T, patients[:, None] != patients[None]
    own = similarity.diagonal()[:, None]
    return {
        "own_nearer": float(np.nanmean(nearer_than_strangers(images.numpy(), others.numpy(), patients.numpy()))),
        "own_nearest": float(((own > similarity) | ~strangers).all(1).float().mean()),
        "images": float(len(images)),
    }
