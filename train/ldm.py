"""Train a latent diffusion model: accelerate launch train/ldm.py configs/text_256.yaml [key=value ...]"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from gen.config import load_job
from gen.data.compose import CORPUS_SIZE, prompt_corpus
from gen.engine.checkpoint import replace_folder
from gen.engine.figures import held_out_losses
from gen.engine.learner import DatasetLearner, coded_datasets
from gen.engine.loop import Loop
from gen.engine.memorisation import Memorisation
from gen.engine.processes import processes
from gen.errors import UserError, exit_on_user_error
from gen.models.denoiser import Denoiser, build_denoiser, widened
from gen.models.growing import deepened
from gen.models.loading import load_codec
from gen.models.lowrank import plain, with_low_rank
from gen.models.recoding import check_same_latents
from gen.models.text import TextEncoder, build_text_encoder, load_tokenizer, train_tokenizer
from gen.objectives.diffusion import DiffusionObjective
from gen.pipeline import CXRPipeline
from gen.schema import LatentJob
from gen.tasks import TASKS
from gen.tasks.latents import target_latents, with_link_latents


class LatentLearner(DatasetLearner):
    """Codec (frozen), task and denoiser (trained) under one objective."""

    def __init__(self, job: LatentJob) -> None:
        super().__init__()
        self.job = job
        self.codec = load_codec(job.codec).requires_grad_(False).eval()
        self.kind = TASKS[job.task.name]
        self.dataset, self.held_out = coded_datasets(job, self.codec, self.kind.needs, self.kind.rows)
        self.memorisation = None
        if job.memorisation is not None:
            self.memorisation = Memorisation(job.memorisation, self.codec, self.dataset, self.held_out)
        self.objective = DiffusionObjective(job.objective)
        self.trained = nn.ModuleDict(self._new_modules() if job.initialise_from is None else self._loaded_modules())

    def _new_modules(self) -> dict[str, nn.Module]:
        task = self._task(build_text_encoder(self.job.text, self._words()))
        channels, side, _ = self.codec.latent_shape(self.job.data.resolution)
        denoiser = build_denoiser(self.job.denoiser, channels, side, task.text.width, task.spatial_channels(channels))
        return {"task": task, "denoiser": denoiser}

    def _task(self, text: TextEncoder, conditioner: nn.Module | None = None) -> nn.Module:
        """The task with its conditioner, a new one where none is given."""
        if conditioner is None:
            first = self.job.task.first if self.job.task.name == "view" else None
            if first is not None:
                check_same_latents(load_codec(first / "vae"), self.codec, f"task.first={first}")
            shape = self.codec.latent_shape(self.job.data.resolution)
            settled = self.kind.settled(self.job.task, self.dataset.records.columns)
            conditioner = self.kind.new_conditioner(settled, shape, text.width)
        return self.kind(text, None if conditioner is None else conditioner.requires_grad_(True).train())

    def _words(self) -> PreTrainedTokenizerBase | None:
        """The small encoder's tokenizer: made once a run, from templates and the training rows' own prompts."""
        if self.job.text.model is not None:
            return None
        folder = self.job.run / "tokenizer"
        with processes().main_process_first():
            if not folder.is_dir():
                own = [self.dataset[row, row]["prompt"] for row in range(min(len(self.dataset), CORPUS_SIZE))]
                tokenizer = train_tokenizer(prompt_corpus() + own)
                replace_folder(folder, lambda temporary: tokenizer.save_pretrained(temporary))
        return load_tokenizer(folder)

    def _loaded_modules(self) -> dict[str, nn.Module]:
        pipeline = CXRPipeline.from_pretrained(self.job.initialise_from)
        length = min(self.job.text.max_tokens, pipeline.config.max_tokens)
        text = TextEncoder(pipeline.text_encoder, pipeline.tokenizer, length, pipeline.config.mask_padding)
        text.requires_grad_(self.job.text.trainable)
        conditioner = pipeline.conditioner if pipeline.config.task == self.job.task.name else None
        if conditioner is not None and getattr(self.job.task, "events_from", None) is not None:
            raise UserError("task.events_from: initialise_from brings its own encoder of events; leave one of them out")
        if conditioner is not None and self.job.task.name == "view" and self.job.task.first is not None:
            raise UserError("task.first: initialise_from brings its own encoder of views; leave one of them out")
        task = self._task(text, conditioner)
        unet = widened(pipeline.unet, task.spatial_channels(pipeline.unet.config.out_channels))
        unet = (unet if self.job.deeper is None else deepened(unet, self.job.deeper)).requires_grad_(True)
        if self.job.low_rank:
            unet = with_low_rank(unet, self.job.low_rank, whole=("conv_in", "conv_out"))
        return {"task": task, "denoiser": Denoiser(unet)}

    def shards(self) -> list[nn.Module]:
        """All that is trained."""
        return list(self.trained.values())

    def forward(self, batch: dict) -> dict[str, Tensor]:
        """Losses of a batch of moments, or of pixels where no moments are cached."""
        task, batch = self.trained["task"], with_link_latents(self.codec, batch)
        z0 = task.drawn(target_latents(self.codec, batch), batch)
        condition = task(batch).drop(self.job.task.drop)
        return self.objective(self.trained["denoiser"], z0, condition)

    @torch.no_grad()
    def validate(self, trained: nn.ModuleDict, folder: Path) -> dict[str, float]:
        """Loss on the validation split with fixed noise, and one picture a validation prompt."""
        figures = held_out_losses(self.codec, trained, self.objective, self.held_out)
        if self.job.validation_prompts:
            images = self.pipeline(trained)(list(self.job.validation_prompts), seed=0, progress=False).images
            contact = Image.new("L", (sum(image.width for image in images), images[0].height))
            for number, image in enumerate(images):
                contact.paste(image, (number * image.width, 0))
            contact.save(folder / "samples.png")
        if self.memorisation is not None:
            figures |= self.memorisation.figures(self.pipeline(trained))
        return figures

    @property
    def may_end_early(self) -> bool:
        """With `memorisation`."""
        return self.memorisation is not None

    def overdone(self, figures: dict[str, float]) -> str:
        """Too many copies of training images."""
        return "" if self.memorisation is None else self.memorisation.overdone(figures)

    def pipeline(self, trained: nn.ModuleDict) -> CXRPipeline:
        """The trained modules as a pipeline."""
        denoiser = Denoiser(plain(trained["denoiser"].backbone))
        return CXRPipeline.from_modules(
            self.codec, trained["task"], denoiser, self.objective.scheduler, self.job.data.resolution
        )

    def export(self, trained: nn.ModuleDict, folder: Path) -> None:
        """A pipeline folder."""
        self.pipeline(trained).save_pretrained(folder)


def main(arguments: list[str]) -> None:
    """Train what a config describes, or go on with it."""
    job = load_job(LatentJob, "ldm.py", arguments)
    torch.manual_seed(job.train.seed)
    Loop(LatentLearner(job), job, job.train, job.run).train()


if __name__ == "__main__":
    with exit_on_user_error():
        main(sys.argv[1:])
