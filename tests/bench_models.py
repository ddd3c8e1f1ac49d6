"""What the benches of speed draw and train with, of the shipped shape with random weights, and the clock."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import torch
from diffusers import LCMScheduler
from torch import nn

from bench import PROMPT, RECIPE
from gen.config import load_config
from gen.data.dataset import CXRDataset, make_loader
from gen.data.moments import MomentsStore, image_keys
from gen.engine.learner import Learner
from gen.models.codec import LatentCodec
from gen.models.denoiser import Denoiser, build_denoiser, student_of
from gen.models.loading import load_codec
from gen.models.text import build_text_encoder, train_tokenizer
from gen.objectives.diffusion import DiffusionObjective
from gen.pipeline import WEIGHTS, CXRPipeline
from gen.schema import LatentJob
from gen.tasks import TASKS
from gen.tasks.latents import target_latents

BATCH, FEW = 4, 4


def job() -> LatentJob:
    """The shipped model's recipe without the token summary, which the stock pipeline cannot pass on."""
    overrides = ["text.model=null", "text.layers=2", "text.trainable=false", "denoiser.summary=false"]
    return load_config(LatentJob, RECIPE, overrides)


def large_job() -> LatentJob:
    """The 512 px recipe with a frozen text encoder of CXR-BERT's size, in the batch that a CPU's patience allows."""
    overrides = ["text.model=null", "text.revision=null", "text.layers=12", "text.width=768", "text.heads=12"]
    overrides += ["text.lora_rank=0", "text.trainable=false", "train.mixed_precision=auto", "train.trackers=[]"]
    few = [] if torch.cuda.is_available() else ["train.batch_size=2"]
    return load_config(LatentJob, RECIPE.with_name("text_512.yaml"), overrides + few)


def parts(settings: LatentJob | None = None) -> tuple[LatentCodec, nn.Module, Denoiser]:
    """The shipped codec, and a task and a denoiser of a recipe's size, the shipped one's, with random weights."""
    codec, settings = load_codec(WEIGHTS / "text_256" / "vae").eval(), settings or job()
    task = TASKS["text"](build_text_encoder(settings.text, train_tokenizer([PROMPT]))).eval()
    channels, side, _ = codec.latent_shape(settings.data.resolution)
    denoiser = build_denoiser(settings.denoiser, channels, side, task.text.width).eval()
    nn.init.normal_(denoiser.backbone.conv_out.weight, std=0.02)
    return codec, task, denoiser


def few_step_pipeline(dtype: torch.dtype, resolution: int = 256) -> CXRPipeline:
    """A distilled student of the shipped size: one call a step."""
    codec, task, denoiser = parts()
    schedule = DiffusionObjective(job().objective).scheduler
    pipeline = CXRPipeline.from_modules(codec, task, student_of(denoiser, 64), schedule, resolution)
    pipeline.register_modules(scheduler=LCMScheduler.from_config(schedule.config, original_inference_steps=8))
    return pipeline.to(dtype)


def clock() -> float:
    """Seconds of all processor cores, or of the wall where a GPU computes."""
    return time.perf_counter() if torch.cuda.is_available() else time.process_time()


def spent(work: Callable[[], object]) -> float:
    """Seconds of the quicker of two runs, after one that warms up."""
    times = []
    for _ in range(3):
        began = clock()
        work()
        times.append(clock() - began)
    return min(times[1:])


def told(dtype: torch.dtype) -> str:
    """A dtype's name."""
    return str(dtype).removeprefix("torch.")


class Stored(Learner):
    """Moments and prompts from a store, as train/ldm.py has them."""

    def __init__(self, settings: LatentJob, dataset: CXRDataset) -> None:
        super().__init__()
        codec, task, denoiser = parts(settings)
        self.settings, self.codec, self.task, self.dataset = settings, codec.requires_grad_(False), task, dataset
        self.trained = nn.ModuleDict({"denoiser": denoiser.train()})
        self.objective = DiffusionObjective(settings.objective)
        self.waited = 0.0

    def forward(self, batch: dict) -> dict:
        condition = self.task(batch).drop(self.settings.task.drop)
        return self.objective(self.trained["denoiser"], target_latents(self.codec, batch), condition)

    def batches(self, rank: int, world: int, start: int) -> Iterator[dict]:
        loader = iter(make_loader(self.dataset, self.settings.train.batch_size, 0, rank, world, start))
        while True:
            began = clock()
            batch = next(loader)
            self.waited += clock() - began
            yield batch

    def export(self, trained: nn.ModuleDict, folder: Path) -> None:
        """Nothing is kept."""


def stored_images(folder: Path, resolution: int = 256) -> CXRDataset:
    """A moments store of 64 images that nobody drew, and its rows."""
    codec = load_codec(WEIGHTS / "text_256" / "vae")
    table = pd.DataFrame({"image": [f"{number}.png" for number in range(64)], "source": "made", "split": "train"})
    table = table.assign(
        patient_id=table["image"], study_id="s", view="PA", sex="F", age=range(20, 84), findings="Edema"
    )
    shape = (1, 2 * codec.config.latent_channels, *[resolution // codec.downsample_factor] * 2)
    store = MomentsStore.create(folder, image_keys(table), shape, "bench", codec.signature().tolist())
    for row in range(len(table)):
        store.write(row, torch.randn(shape).half().numpy())
    return CXRDataset(table, resolution, folder)
