"""CXRPipeline: a prompt in, radiographs and their records out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from diffusers import DDIMScheduler, DiffusionPipeline, SchedulerMixin
from diffusers.utils import BaseOutput
from PIL import Image
from torch import Tensor

from gen import seeds
from gen.calls.bone import BoneCalls
from gen.calls.checks import check_drawing, check_fit, repeated, seeds_of
from gen.calls.execution import ExecutionCalls
from gen.calls.inpaint import draw_inside
from gen.calls.painting import Picture
from gen.calls.results import decoded, record_of
from gen.calls.temporal import TemporalCalls
from gen.calls.view import Given, Source, draw_views
from gen.data.images import model_pixels
from gen.errors import UserError
from gen.models import loading
from gen.models.codec import LatentCodec
from gen.models.denoiser import Backbone, Denoiser
from gen.models.folders import read_settings, said_plainly
from gen.models.loading import download, load_modules, pipeline_settings, weights_hash
from gen.models.prompts import KnownPrompts
from gen.models.text import TextEncoder, drop_pooler, merged
from gen.provenance import SynthesisRecord
from gen.sampler import denoise
from gen.tasks import TASKS

WEIGHTS = Path(__file__).parent / "weights"
DEFAULT_MODEL = WEIGHTS / "text_256_fast"


@dataclass
class CXROutput(BaseOutput):
    """Images (PIL, arrays or latents) and one record an image."""

    images: list[Image.Image] | np.ndarray | Tensor
    records: list[SynthesisRecord]


class CXRPipeline(ExecutionCalls, DiffusionPipeline, TemporalCalls, BoneCalls):
    """Every task of the suite as a diffusers pipeline; load it with `CXRPipeline.from_pretrained(folder_or_hub_id)`."""

    _callback_tensor_inputs: ClassVar = ["latents"]
    _optional_components: ClassVar = ["conditioner"]

    def __init__(
        self,
        vae: LatentCodec,
        text_encoder: torch.nn.Module,
        tokenizer: object,
        unet: Backbone,
        scheduler: SchedulerMixin,
        conditioner: torch.nn.Module | None = None,
        task: str = "text",
        resolution: int = 256,
        max_tokens: int = 64,
        steps: int = 25,
        guidance: float = 2.0,
        name: str = "cxr-gen",
        mask_padding: bool = True,
    ) -> None:
        super().__init__()
        drop_pooler(text_encoder)
        self.register_modules(vae=vae, text_encoder=text_encoder, tokenizer=tokenizer, unet=unet, scheduler=scheduler)
        self.register_modules(conditioner=conditioner)
        self.register_to_config(
            task=task,
            resolution=resolution,
            max_tokens=max_tokens,
            steps=steps,
            guidance=guidance,
            name=name,
            mask_padding=mask_padding,
        )
        self.model_hash = "unsaved"
        self._prompts = KnownPrompts()

    # ---- making one -----------------------------------------------------------------------------------------

    @classmethod
    def from_modules(
        cls, codec: LatentCodec, task: torch.nn.Module, denoiser: Denoiser, scheduler: SchedulerMixin, resolution: int
    ) -> CXRPipeline:
        """A pipeline around modules that training holds; samplers other than DDIM can be set afterwards."""
        name = next(name for name, kind in TASKS.items() if type(task) is kind)
        sampler = DDIMScheduler.from_config(scheduler.config, set_alpha_to_one=True, clip_sample=False)
        return cls(
            codec,
            merged(task.text.model),
            task.text.tokenizer,
            denoiser.backbone,
            sampler,
            task.conditioner,
            task=name,
            resolution=resolution,
            max_tokens=task.text.max_tokens,
            mask_padding=task.text.mask_padding,
        )

    @classmethod
    def from_pretrained(
        cls, model: str | Path = DEFAULT_MODEL, revision: str | None = None, torch_dtype: torch.dtype = torch.float32
    ) -> CXRPipeline:
        """Load a saved pipeline, or a Stable-Diffusion-format folder, from a folder or the hub (safetensors only).

        Errors: UserError when the folder is not a model, or a hub id that cannot be had.
        """
        folder = Path(model) if Path(model).is_dir() else download(str(model), revision)
        if not (folder / "model_index.json").is_file():
            raise UserError(f"{folder}: not a model folder (model_index.json is missing)")
        index = read_settings(folder / "model_index.json")
        if index.get("_class_name") == cls.__name__:
            arguments = {**load_modules(folder, index, torch_dtype), **pipeline_settings(folder, index, TASKS)}
        else:
            arguments = loading.load_stable_diffusion(folder, index, torch_dtype)
        with said_plainly(folder, "model"):
            pipeline = cls(**arguments)
            channels = pipeline.unet.config.in_channels, pipeline.unet.config.out_channels
            check_fit(pipeline.task, channels, pipeline.vae.latent_shape(pipeline.config.resolution)[1])
            with torch.no_grad():
                pipeline.task.text([""])  # more tokens than its encoder has places would raise only when drawing
            pipeline.model_hash = weights_hash(*loading.lineage(folder, index))
        return pipeline

    # ---- using it -------------------------------------------------------------------------------------------

    @torch.no_grad()
    def __call__(
        self,
        prompt: str | Sequence[str],
        view: str | None = None,
        sex: str | None = None,
        age: float | None = None,
        seed: int | Sequence[int] = 0,
        steps: int | None = None,
        guidance: float | None = None,
        num_images_per_prompt: int = 1,
        output_type: str = "pil",
        callback_on_step_end: Callable | None = None,
        progress: bool = True,
        angle: float | None = None,
        study: Sequence[Given] | Source = (),
        views: Sequence[str] | None = None,
    ) -> CXROutput:
        """Draw radiographs from prompts; see gen.calls.view for what view models take besides.

        A single seed s gives the images seeds s, s + 1, ...; each image depends on its own seed only, so a batch of
        8 equals 8 batches of 1. `guidance` 1 runs the denoiser once a step, anything else twice.
        `output_type`: "pil" (8-bit grey), "np" ([N, H, W] in 0..1) or "latent" ([N, C, h, w]).
        """
        prompts = repeated([prompt] if isinstance(prompt, str) else list(prompt), num_images_per_prompt)
        draw = partial(
            self.draw,
            seed=seed,
            steps=steps,
            guidance=guidance,
            output_type=output_type,
            callback_on_step_end=callback_on_step_end,
            progress=progress,
        )
        return draw_views(self, prompts, [view] if views is None else views, sex, age, angle, study, draw)

    @torch.no_grad()
    def inpaint(
        self,
        image: Picture,
        edit_mask: Picture,
        prompt: str,
        keep_mask: Picture | None = None,
        seed: int = 0,
        steps: int | None = None,
        guidance: float | None = None,
        progress: bool = True,
    ) -> CXROutput:
        """Edit an image inside a mask and keep the rest; see gen.calls.inpaint."""
        draw = partial(self.draw, steps=steps, guidance=guidance, progress=progress)
        return draw_inside(self, image, edit_mask, prompt, keep_mask, seed, draw)

    @torch.no_grad()
    def draw(
        self,
        batch: dict,
        seed: int | Sequence[int] = 0,
        steps: int | None = None,
        guidance: float | None = None,
        output_type: str = "pil",
        callback_on_step_end: Callable | None = None,
        progress: bool = True,
    ) -> CXROutput:
        """Draw one image for every row of a task's batch: the core of every call.

        `batch` holds `prompt`, and what else the task reads; linked images come as latents (`encode`).
        """
        steps = self.config.steps if steps is None else steps
        guidance = self.config.guidance if guidance is None else guidance
        prompts = batch["prompt"]
        image_seeds = seeds_of(seed, len(prompts))
        check_drawing(prompts, steps, guidance, output_type)
        self.set_progress_bar_config(disable=not progress)
        z = self.task.finished(self._denoise(batch, image_seeds, steps, guidance, callback_on_step_end), batch)
        records = [record_of(self, *pair, steps, guidance) for pair in zip(prompts, image_seeds, strict=True)]
        images = decoded(self.vae, z, output_type)
        self.maybe_free_model_hooks()
        return CXROutput(images=images, records=records)

    @torch.no_grad()
    def encode(self, images: Sequence[Picture]) -> Tensor:
        """Whitened latents of radiographs: files of any format, PIL images or brightness arrays of 0..1, bright bone.

        Shapes: N images of any size -> [N, C, h, w]. Errors: UserError for what is no radiograph.
        """
        pixels = np.stack([model_pixels(image, self.config.resolution) for image in images])[:, None]
        return self.vae.sample(self.vae.moments(torch.from_numpy(pixels).to(self._execution_device, self.vae.dtype)))

    def _denoise(
        self, batch: dict, image_seeds: list[int], steps: int, guidance: float, callback: Callable | None
    ) -> Tensor:
        device, dtype = self._execution_device, self.unet.dtype
        condition = self.task(batch)
        shape = batch.get("latent_shape", self.vae.latent_shape(self.config.resolution))
        z = seeds.image_noise(image_seeds, shape).to(device, dtype)

        def told(number: int, t: Tensor, z: Tensor) -> Tensor:
            return z if callback is None else callback(self, number, t, {"latents": z}).pop("latents", z)

        denoiser, first = self._watched(Denoiser(self.unet)), self.task.first_answer(batch)
        fixed = self.scheduler, condition, z, steps, guidance, image_seeds
        return denoise(denoiser, *fixed, told, self.progress_bar, first)

    @property
    def task(self) -> torch.nn.Module:
        """The task over this pipeline's present text encoder; the same class that training uses."""
        settings = self.config.max_tokens, self.config.mask_padding
        text = TextEncoder(self.text_encoder, self.tokenizer, *settings, known=self._prompts)
        return TASKS[self.config.task](text, self.conditioner)
