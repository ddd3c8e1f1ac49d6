"""The denoising objective: one random time step a sample, squared error of the chosen parameterisation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from gen.objectives import schedule
from gen.schema import DiffusionConfig


class Conditioned(Protocol):
    """What the objective asks of a condition."""

    def scaled(self, amplitude: Tensor) -> Conditioned: ...


class DiffusionObjective:
    """`objective(denoiser, z0, condition, generator) -> losses`; the engine sums what it returns."""

    def __init__(self, config: DiffusionConfig) -> None:
        self.config = config
        self.scheduler = schedule.build_scheduler(config)

    def __call__(
        self, denoiser: Callable, z0: Tensor, condition: Conditioned, generator: torch.Generator | None = None
    ) -> dict[str, Tensor]:
        """Loss of a batch. Shapes: z0 [B, C, h, w], whitened -> scalars by name."""
        t = self._times(len(z0), generator).to(z0.device)
        noise = self._noise(z0, generator)
        alpha, sigma = schedule.alpha_sigma(self.scheduler.alphas_cumprod, t)
        if self.config.scaled_condition:
            condition = condition.scaled(alpha)
        output = denoiser(schedule.add_noise(z0, noise, alpha, sigma), t, condition)
        target = schedule.target(self.config.prediction, z0, noise, alpha, sigma)
        error = self._penalty((output.float() - target).square().mean(dim=1)).mean(dim=(1, 2))  # [B]
        if self.config.min_snr_gamma is not None:
            error = error * schedule.min_snr_weight(self.config.prediction, alpha, sigma, self.config.min_snr_gamma)
        return {"diffusion": error.mean()}

    def _penalty(self, squared: Tensor) -> Tensor:
        """Squared error of a position, or 2 c (sqrt(e^2 + c^2) - c), pseudo-Huber: a few large errors rule it less.

        Shapes: squared [B, h, w].
        """
        width = self.config.huber
        return squared if width is None else 2 * width * ((squared + width**2).sqrt() - width)

    def _times(self, count: int, generator: torch.Generator | None) -> Tensor:
        """Uniform, but for the share of the last time step. Shapes: -> [count]."""
        t = torch.randint(self.config.steps, (count,), generator=generator)
        if not self.config.last:
            return t
        last = torch.rand(count, generator=generator) < self.config.last
        return torch.where(last, self.config.steps - 1, t)

    def _noise(self, z0: Tensor, generator: torch.Generator | None) -> Tensor:
        noise = torch.randn(z0.shape, generator=generator).to(z0)
        if self.config.offset_noise:
            offset = torch.randn((*z0.shape[:2], 1, 1), generator=generator).to(z0)
            noise = noise + self.config.offset_noise * offset
        return noise
