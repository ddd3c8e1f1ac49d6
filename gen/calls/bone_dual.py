"""Bone suppression as GL-LCM does it, whole: two paths, and the local image blended into the global one."""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from gen import seeds
from gen.calls.bone import BoneModel, diffusion_bones, latents_batch
from gen.calls.bone_paths import PathSettings, sample_paths
from gen.calls.fusion import mean_matched, poisson_blend, without_crumbs
from gen.calls.painting import Pipe
from gen.models.condition import Condition
from gen.models.denoiser import Denoiser

LUNGS = 0.2  # probability from which GL-LCM's mask counts a pixel


class Segments(Protocol):
    """What finds lungs and heart: gen.judges.lungs.LungSegmenter."""

    def masks(self, images: Tensor) -> Tensor: ...


def dual_bones(pipeline: Pipe, segmenter: Segments, steps: int | None = None, seed: int = 0) -> BoneModel:
    """A trained pipeline drawn from as GL-LCM does, as bone model: two network calls a step, each path alone.

    The layer is what the radiograph has above the soft-tissue image, with the codec's own errors, as theirs.
    """
    settings = PathSettings() if steps is None else PathSettings(steps=steps)

    def layers(pixels: Tensor) -> Tensor:
        lungs = segmenter.masks(pixels)[:, :1]
        softs = dual_softs(pipeline, pixels, lungs, settings, seed, batched=False)
        return pixels[:, 0].cpu() / 2 + 0.5 - softs

    single = diffusion_bones(pipeline, settings.steps, seed)
    return replace(single, layers=layers, record=replace(single.record, scheduler="GL-LCM, two paths"))


@torch.no_grad()
def dual_softs(
    pipeline: Pipe, pixels: Tensor, lungs: Tensor, settings: PathSettings, seed: int = 0, batched: bool = True
) -> Tensor:
    """Soft-tissue images of radiographs at the model's size by both paths; `batched` False calls once a path.

    Shapes: pixels [B, 1, R, R] in -1..1, lungs [B, 1, R, R] probabilities -> [B, R, R] in 0..1.
    """
    codec = pipeline.vae
    mask = lungs > LUNGS
    masked = torch.where(mask, pixels, -1.0)  # black outside the lungs
    images = codec.sample(codec.moments(torch.cat([pixels, masked]).to(codec.device, codec.dtype)))
    batch = latents_batch(images)
    condition = pipeline.task(batch)
    noise = seeds.image_noise([seed + number for number in range(len(pixels))], tuple(images.shape[1:])).to(images)
    stream = seeds.generator("bone paths", seed)
    both = sample_paths(
        _predictor(Denoiser(pipeline.unet), condition, batched),
        pipeline.scheduler.alphas_cumprod,
        noise,
        settings,
        lambda: torch.randn(noise.shape, generator=stream).to(noise),
        pipeline.scheduler.config.prediction_type,
    )
    decoded = codec.decode(pipeline.task.finished(torch.cat(both), batch)).float().cpu()[:, 0] / 2 + 0.5
    everywhere, within = decoded.clamp(0, 1).chunk(2)
    black = (pixels[:, 0] <= -1).cpu()
    parts = zip(everywhere.where(~black, 0.0).numpy(), within.numpy(), mask[:, 0].cpu().numpy(), strict=True)
    return torch.from_numpy(np.stack([fused(*part) for part in parts]))


def fused(everywhere: np.ndarray, within: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The local image set into the global one, in GL-LCM's order. Shapes: [R, R] each."""
    kept = without_crumbs(mask)
    return np.clip(poisson_blend(mean_matched(within, everywhere, mask), everywhere, kept), 0, 1)


def _predictor(denoiser: Denoiser, condition: Condition, batched: bool):
    if batched:
        return lambda z, t: denoiser(z, t, condition)
    half = len(condition.tokens) // 2
    parts = [condition.rows(slice(None, half)), condition.rows(slice(half, None))]
    return lambda z, t: torch.cat([denoiser(z[k * half : (k + 1) * half], t[:half], parts[k]) for k in (0, 1)])
