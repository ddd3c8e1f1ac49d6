"""Consistency distillation: a student that answers from any noise with what its guided teacher reaches in many steps.

Latent consistency models (Luo et al., arXiv 2310.04378); with several segments, multistep consistency models
(Heek et al., arXiv 2403.06807). Time -1 is the data, where alpha is 1 and sigma 0.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch
from diffusers import LCMScheduler, SchedulerMixin
from pydantic import Field, model_validator
from torch import Tensor

from gen.errors import UserError
from gen.objectives import schedule
from gen.schedulers import SegmentScheduler
from gen.schema import Strict

SIGMA_DATA = 0.5  # of the boundary scalings, as LCMScheduler has it


class ConsistencyConfig(Strict):
    """What the student learns, and from what."""

    grid: int = Field(gt=0, description="times at which the student answers, and the most steps it can be drawn with")
    solver: Literal["ddim", "midpoint"] = Field(description="how the teacher goes from one time to the next")
    teacher_steps: int = Field(1, ge=1, description="steps of the solver from one time to the next")
    segments: int = Field(1, ge=1, description="1 answers with the clean latent, more with each segment's lower edge")
    guidance: tuple[float, float] = Field(description="scales that the student learns, uniform between the two")
    guide_scale: float = Field(0.0, ge=0, description="how far the teacher moves away from the job's guide")
    guidance_channels: int = Field(gt=3, description="channels of the embedded guidance scale")
    target_decay: float = Field(ge=0, lt=1, description="decay of the averaged weights that give the target")
    huber: float = Field(0.001, gt=0, description="width below which the loss is quadratic, units of latents")

    @model_validator(mode="after")
    def _whole(self) -> ConsistencyConfig:
        if self.grid % self.segments:
            raise ValueError(f"segments={self.segments}: must divide grid={self.grid}")
        if not 0 <= self.guidance[0] <= self.guidance[1]:
            raise ValueError(f"guidance={self.guidance}: two scales, the lower one first")
        return self


class ConsistencyObjective:
    """`objective(denoiser, z0, condition, generator) -> losses`, with the teacher and the target that it learns from.

    Teacher and target are denoisers as the student is; the teacher takes no guidance and is called on null and
    condition, and so is the guide on the condition. The times are those at which `sampler` calls the student.
    """

    def __init__(
        self,
        config: ConsistencyConfig,
        scheduler: SchedulerMixin,
        teacher: Callable,
        target: Callable,
        guide: Callable | None = None,
    ) -> None:
        self.config, self.teacher, self.target, self.guide = config, teacher, target, guide
        self.sampler = build_sampler(config, scheduler)
        self.hop = self.sampler.config.num_train_timesteps // config.grid
        self.bars = torch.cat([torch.ones(1), self.sampler.alphas_cumprod])  # by time + 1

    def __call__(
        self, denoiser: Callable, z0: Tensor, condition: Any, generator: torch.Generator | None = None
    ) -> dict[str, Tensor]:
        """Loss of a batch. Shapes: z0 [B, C, h, w], whitened -> scalars by name."""
        number = torch.randint(self.config.grid, (len(z0),), generator=generator)
        low, high = self.config.guidance
        scale = (low + (high - low) * torch.rand(len(z0), generator=generator)).to(z0.device)
        noise = torch.randn(z0.shape, generator=generator).to(z0)
        t, edge = (times.to(z0.device) for times in self._times(number))
        z = schedule.add_noise(z0, noise, *self._amplitudes(t))
        with torch.no_grad():
            goal = self._goal(z, t, edge, condition, scale)
        error = self._clean(denoiser, z, t, condition, scale)[0] - goal
        return {"consistency": pseudo_huber(error, self.config.huber)}

    def _times(self, number: Tensor) -> tuple[Tensor, Tensor]:
        """Time of each sample's place on the grid and of its segment's lower edge. Shapes: [B] -> two of [B]."""
        length = self.config.grid // self.config.segments
        return (number + 1) * self.hop - 1, (number // length) * length * self.hop - 1

    def _goal(self, z: Tensor, t: Tensor, edge: Tensor, condition: Any, scale: Tensor) -> Tensor:
        """The clean latent that would bring the student to where the target arrives from one hop further on."""
        further = t - self.hop
        arrived = self._teacher_hop(z, t, condition, scale)
        clean, noise = self._clean(self.target, arrived, further, condition, scale)
        alpha_edge, sigma_edge = self._amplitudes(edge)
        jumped = schedule.add_noise(clean, noise, alpha_edge, sigma_edge)
        jumped = torch.where((further == edge)[:, None, None, None], arrived, jumped)
        alpha, sigma = self._amplitudes(t)
        return (jumped - sigma_edge / sigma * z) / (alpha_edge - sigma_edge / sigma * alpha)

    def _teacher_hop(self, z: Tensor, t: Tensor, condition: Any, scale: Tensor) -> Tensor:
        """The guided teacher's flow over one hop, in `teacher_steps` steps.

        DDIM (arXiv 2010.02502, equation 12) keeps the clean latent of a step's beginning; the midpoint method that of
        its middle (DPM-Solver-2, arXiv 2206.00927), for two calls.
        """
        steps = self.config.teacher_steps
        for step in range(steps):
            now, then = t - self.hop * step // steps, t - self.hop * (step + 1) // steps
            clean = self._teacher_clean(z, now, condition, scale)
            if self.config.solver == "midpoint":
                half = (now + then) // 2
                clean = self._teacher_clean(self._moved(z, clean, now, half), half, condition, scale)
            z = self._moved(z, clean, now, then)
        return z

    def _teacher_clean(self, z: Tensor, t: Tensor, condition: Any, scale: Tensor) -> Tensor:
        output = guided(self.teacher, z, t, condition, scale, self.guide, self.config.guide_scale)
        return self._both(output, z, t)[0]

    def _moved(self, z: Tensor, clean: Tensor, now: Tensor, then: Tensor) -> Tensor:
        """The latent at another time on the line of a clean latent and the noise that goes with it."""
        alpha, sigma = self._amplitudes(now)
        return schedule.add_noise(clean, (z - alpha * clean) / sigma, *self._amplitudes(then))

    def _clean(self, denoiser: Callable, z: Tensor, t: Tensor, condition: Any, scale: Tensor) -> tuple[Tensor, Tensor]:
        """Clean latent within the boundary scalings, and the noise that goes with it."""
        time = t.clamp_min(0)
        clean, noise = self._both(denoiser(z, time, condition, scale).float(), z, t)
        skip, out = boundary_scalings(time, self.sampler.config.get("timestep_scaling", 10.0))
        return skip * z + out * clean, noise

    def _both(self, output: Tensor, z: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        prediction, (alpha, sigma) = self.sampler.config.prediction_type, self._amplitudes(t)
        return tuple(part(prediction, output, z, alpha, sigma) for part in (schedule.to_z0, schedule.to_noise))

    def _amplitudes(self, t: Tensor) -> tuple[Tensor, Tensor]:
        return schedule.alpha_sigma(self.bars, t + 1)


def guided(
    denoiser: Callable,
    z: Tensor,
    t: Tensor,
    condition: Any,
    scale: Tensor,
    guide: Callable | None = None,
    guide_scale: float = 0.0,
) -> Tensor:
    """Classifier-free guidance, a scale a sample, and autoguidance; at scale 1 throughout the null is not asked.

    Autoguidance (Karras et al., arXiv 2406.02507) moves the output away from what a less trained model of the same
    kind answers: both err alike, the guide more so. Shapes: scale [B].
    """
    if bool((scale == 1).all()):
        given = output = denoiser(z, t, condition).float()
    else:
        null, given = denoiser(torch.cat([z, z]), torch.cat([t, t]), condition.cat_null()).float().chunk(2)
        output = null + scale[:, None, None, None] * (given - null)
    if guide is None or not guide_scale:
        return output
    return output + guide_scale * (given - guide(z, t, condition).float())


def boundary_scalings(t: Tensor, scaling: float) -> tuple[Tensor, Tensor]:
    """c_skip and c_out: 1 and 0 at time 0 (Luo et al., appendix; the formulas of LCMScheduler). [B] -> [B, 1, 1, 1]."""
    scaled = (t * scaling).view(-1, 1, 1, 1)
    total = scaled.square() + SIGMA_DATA**2
    return SIGMA_DATA**2 / total, scaled / total.sqrt()


def pseudo_huber(error: Tensor, width: float) -> Tensor:
    """Mean of sqrt(error^2 + width^2) - width (Song and Dhariwal, arXiv 2310.14189)."""
    return ((error.square() + width**2).sqrt() - width).mean()


def build_sampler(config: ConsistencyConfig, scheduler: SchedulerMixin) -> SchedulerMixin:
    """The scheduler that a student is sampled with: noise anew at each step, or from segment to segment.

    Errors: UserError for a grid that does not divide the time steps, and for noise prediction at zero terminal SNR.
    """
    if config.segments == 1:
        sampler = LCMScheduler.from_config(scheduler.config, original_inference_steps=config.grid, clip_sample=False)
    else:
        sampler = SegmentScheduler.from_config(scheduler.config, segments=config.segments)
    steps = sampler.config.num_train_timesteps
    if steps % config.grid:
        raise UserError(f"consistency.grid={config.grid}: must divide the teacher's {steps} time steps")
    if sampler.config.prediction_type == "epsilon" and sampler.alphas_cumprod[-1] == 0:
        raise UserError("teacher: noise prediction at zero terminal SNR says nothing of the image; distil another")
    return sampler
