"""The sampler of GL-LCM (arXiv 2508.03357) with BS-LDM's thresholds (arXiv 2412.15670), on any noise-predicting model.

A global path sees the radiograph, a local one the radiograph within the lungs. Both start from the same noise and stand
in one batch, so that a step is one network call and not two.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from gen.objectives import schedule

Predict = Callable[[Tensor, Tensor], Tensor]  # latents [2B, C, h, w], time -> what the model predicts


@dataclass(frozen=True)
class PathSettings:
    """As GL-LCM has them for SZCH-X-Rays; its own for JSRT are thresholds 1.7 and 3.0.

    `guidance` is alpha of Local-Enhanced Guidance; thresholds of |x0| are base + slope * step.
    """

    steps: int = 50
    guidance: float = 3.0
    global_base: float = 2.0
    local_base: float = 3.5
    slope: float = 0.025
    training_steps: int = 1000


def threshold(base: float, slope: float, step: int, lag: int = 0) -> float:
    """Largest |x0| allowed at a step, 0 the noisiest: wide open only when little noise is left.

    BS-LDM uses base 1.4, slope 0.003 and is late by one step (`lag` 1): its first two share a threshold.
    """
    return base + slope * max(0, step - lag)


def thresholded(x0: Tensor, limits: Tensor) -> Tensor:
    """Clean latents held within +-limit. Shapes: [B, C, h, w], [B] -> [B, C, h, w]."""
    edge = limits.view(-1, 1, 1, 1)
    return torch.minimum(torch.maximum(x0, -edge), edge)


def local_guidance(noise: Tensor, alpha: float, fresh: Tensor) -> Tensor:
    """Local-Enhanced Guidance: alpha e + (1 - alpha) n / std(e), n fresh noise, std over all of an image's values.

    Shapes: [B, C, h, w] twice -> the same.
    """
    spread = noise.std(dim=(1, 2, 3), keepdim=True)
    return alpha * noise + (1 - alpha) * fresh / spread


def times_of(steps: int, training_steps: int) -> list[int]:
    """Times of the sampler, from the noisiest: T - 1, T - 1 - T/steps, ... (999, 979, ..., 19 for 50 of 1000)."""
    return [training_steps - 1 - number * (training_steps // steps) for number in range(steps)]


def sample_paths(
    predict: Predict,
    alphas_cumprod: Tensor,
    noise: Tensor,
    settings: PathSettings,
    draw: Callable[[], Tensor],
    prediction: str = "epsilon",
) -> tuple[Tensor, Tensor]:
    """Global and local latents from one noise: predict x0, hold it within its threshold, add fresh noise, again.

    `predict` sees the global path's rows first. `draw` gives unit noise for B images; both paths of an image get the
    same. Shapes: noise [B, C, h, w] -> two of [B, C, h, w].
    """
    z = torch.cat([noise, noise])
    times = times_of(settings.steps, settings.training_steps)
    for step, t in enumerate(times):
        time = torch.full((len(z),), t, device=z.device)
        alpha, sigma = schedule.alpha_sigma(alphas_cumprod, time)
        told = schedule.to_noise(prediction, predict(z, time), z, alpha, sigma)
        everywhere, within = told.chunk(2)
        guided = torch.cat([everywhere, local_guidance(within, settings.guidance, draw())])
        x0 = schedule.to_z0("epsilon", guided, z, alpha, sigma)
        limits = [threshold(base, settings.slope, step) for base in (settings.global_base, settings.local_base)]
        x0 = thresholded(x0, torch.tensor(limits, device=z.device).repeat_interleave(len(noise)).to(x0.dtype))
        if step + 1 == len(times):
            return tuple(x0.chunk(2))
        following = torch.full_like(time, times[step + 1])
        fresh = draw()
        z = schedule.add_noise(x0, torch.cat([fresh, fresh]), *schedule.alpha_sigma(alphas_cumprod, following))
    raise AssertionError("at least one step")
