"""Training the first answer of a view model: what the code of a study's other views tells of the view asked for."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from gen.data.dataset import collate
from gen.data.linked import SEPARATOR
from gen.engine.learner import DatasetLearner, coded_datasets
from gen.engine.loop import to_device
from gen.engine.study_codes import BATCH, several_views
from gen.errors import UserError
from gen.models.first_view import FirstView
from gen.models.loading import load_codec, load_component
from gen.models.recoding import check_same_latents
from gen.models.study import Study, read_study
from gen.models.study_code import GRID, StudyCoder
from gen.schema import DataConfig, Strict, TrainConfig
from gen.tasks.latents import target_latents, with_link_latents
from gen.tasks.view import ViewTask


class FirstViewConfig(Strict):
    """Shape of the network (gen.models.first_view.FirstView)."""

    width: int = Field(48, gt=0, multiple_of=8, description="channels of the last maps; the first have twice as many")
    hidden: int = Field(96, gt=0, description="length of what the layers are told of code, view and angle")


class FirstViewJob(Strict):
    """train/first_view.py"""

    run: Path = Field(description="folder of states, export and metrics")
    data: DataConfig
    codec: Path = Field(description="folder of the codec whose latents it answers with, the view model's own")
    coder: Path = Field(description="export folder of train/study_code.py, trained on other patients")
    network: FirstViewConfig = FirstViewConfig()
    part_drop: float = Field(0.2, ge=0, le=1, description="probability that view, angle or a context image is left out")
    drop: float = Field(0.15, ge=0, le=1, description="probability that all context is, for guidance to compare with")
    noise: float = Field(0.3, ge=0, description="noise on the codes, whose parts are of about 1, against overfitting")
    train: TrainConfig


class FirstViewLearner(DatasetLearner):
    """Images and the other views of their studies: the squared error of the view that the others' code gives."""

    def __init__(self, job: FirstViewJob) -> None:
        super().__init__()
        self.job = job
        self.codec = load_codec(job.codec).requires_grad_(False).eval()
        self.dataset, self.held_out = coded_datasets(job, self.codec, ViewTask.needs, several_views)
        side, coder = self.codec.latent_shape(job.data.resolution)[1], load_component(StudyCoder, job.coder)
        if coder.config.resolution != job.data.resolution:
            raise UserError(f"coder={job.coder}: of {coder.config.resolution} px images; train one at data.resolution")
        check_same_latents(load_codec(job.coder / "vae"), self.codec, f"coder={job.coder}")
        if side % (2 * GRID) or side & (side - 1):
            raise UserError(f"data.resolution={job.data.resolution}: latents are {side} wide, not 8, 16, 32, 64 ...")
        self.trained = nn.ModuleDict({"first": FirstView.around(coder, side=side, **job.network.model_dump()).train()})

    def forward(self, batch: dict) -> dict[str, Tensor]:
        """Squared error over a batch of moments, or of pixels where no moments are cached."""
        first = self.trained["first"]
        with torch.no_grad():
            image, study = self._read(batch)
            study = study.drop(self.job.part_drop)
            code = first.code(study)
        known = study.mask.any(1) & (torch.rand(len(code), device=code.device) >= self.job.drop)
        code = (code + self.job.noise * torch.randn_like(code)) * known[:, None]
        return {"squared": (first.answer(code, study.view, study.angle).float() - image).square().mean()}

    def _read(self, batch: dict) -> tuple[Tensor, Study]:
        batch = with_link_latents(self.codec, batch)
        return target_latents(self.codec, batch), read_study(batch, SEPARATOR)

    @torch.no_grad()
    def validate(self, trained: nn.ModuleDict, folder: Path) -> dict[str, float]:
        """Squared error of held-out latents: told their own study, another's, and none."""
        found: dict[str, list[float]] = {"own": [], "other": [], "none": []}
        stride = math.ceil(len(self.held_out) / BATCH)  # so that a batch has few views of one patient
        for first in range(stride):
            rows = range(first, len(self.held_out), stride)
            batch = to_device(collate([self.held_out[row, row] for row in rows]), self.codec.device)
            for name, errors in errors_of(trained["first"], *self._read(batch)).items():
                found[name] += errors.tolist()
        return {f"squared_{name}": float(np.mean(errors)) for name, errors in found.items()}

    def export(self, trained: nn.ModuleDict, folder: Path) -> None:
        """The network's folder, with the codec whose latents it answers with."""
        trained["first"].save_pretrained(folder)
        self.codec.save_pretrained(folder / "vae")


def errors_of(first: FirstView, image: Tensor, study: Study) -> dict[str, Tensor]:
    """Mean squared error of each latent by what is told: its own study, one half a batch away, none.

    Shapes: image [B, c, h, w] -> [B] each.
    """
    code = first.code(study)
    told = {"own": code, "other": code.roll(len(code) // 2, 0), "none": torch.zeros_like(code)}
    answers = {name: first.answer(code, study.view, study.angle).float() for name, code in told.items()}
    return {name: (answer - image).square().mean((1, 2, 3)) for name, answer in answers.items()}
