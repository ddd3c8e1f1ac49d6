"""What every few-step student learns by: one hop of its guided teacher, and an average of itself from there on.

The teacher's probability flow is followed on the circle on which alpha is the cosine and sigma the sine of an angle:
there the velocity is v itself (Salimans and Ho, arXiv 2202.00512). Time -1 is the data, where alpha is 1 and sigma 0.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Literal

import torch
from diffusers import LCMScheduler, SchedulerMixin
from pydantic import Field, model_validator
from torch import Tensor

from gen.errors import UserError
from gen.objectives import schedule
from gen.schedulers import SegmentScheduler
from gen.schema import Strict


class ConsistencyConfig(Strict):
    """What the student learns, and from what."""

    objective: Literal["consistency", "mean_velocity", "self_guided"] = Field(
        "consistency",
        description="answers with its segment's lower edge, or with any lower time that it is told, or as a student "
        "of that kind would if it were guided away from its weaker self",
    )
    grid: int = Field(gt=0, description="times at which the student answers, and the most steps it can be drawn with")
    solver: Literal["ddim", "midpoint"] = Field(description="how the teacher goes from one time to the next")
    teacher_steps: int = Field(1, ge=1, description="steps of the solver from one time to the next")
    segments: int = Field(1, ge=1, description="1 answers with the clean latent, more with each segment's lower edge")
    instants: float = Field(
        0.1, ge=0, lt=1, description="share of samples that learn the teacher's own velocity (mean_velocity)"
    )
    guidance: tuple[float, float] = Field(description="scales that the student learns, uniform between the two")
    guide_scale: float = Field(0.0, ge=0, description="how far the teacher moves away from the job's guide")
    guidance_channels: int = Field(gt=3, description="channels of the embedded guidance scale")
    target_decay: float = Field(ge=0, lt=1, description="decay of the averaged weights that give the target")
    huber: float = Field(0.001, gt=0, description="width below which the loss is quadratic, units of latents")

    @model_validator(mode="after")
    def _whole(self) -> ConsistencyConfig:
        if self.grid % self.segments:
            raise ValueError(f"segments={self.segments}: must divide grid={self.grid}")
        if self.jumps and self.segments != 1:
            raise ValueError(f"segments={self.segments}: a mean velocity reaches any time; leave segments out")
        if not 0 <= self.guidance[0] <= self.guidance[1]:
            raise ValueError(f"guidance={self.guidance}: two scales, the lower one first")
        if self.objective == "self_guided" and not self.guide_scale:
            raise ValueError("guide_scale=0: nothing to learn for objective=self_guided; set it above 0")
        return self

    @property
    def jumps(self) -> bool:
        """Whether the student is told where its step ends."""
        return self.objective != "consistency"


class FlowObjective:
    """`objective(denoiser, z0, condition, generator) -> losses`, with the teacher and the target that it learns from.

    Teacher and target are denoisers as the student is; the teacher takes no guidance and is called on null and
    condition, and so is the guide on the condition. The times are those at which `sampler` calls the student.
    """

    name: ClassVar[str]

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
        t, end = (times.to(z0.device) for times in self._times(number, generator))
        z = schedule.add_noise(z0, noise, *self._amplitudes(t))
        with torch.no_grad():
            goal = self._goal(z, t, end, condition, scale)
        error = self._answer(*self._parts(denoiser, z, t, end, condition, scale), t) - goal
        return {self.name: pseudo_huber(error, self.config.huber)}

    def _times(self, number: Tensor, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """Time of each sample's place on the grid, and where the student is to arrive. Shapes: [B] -> two of [B]."""
        raise NotImplementedError

    def _parts(
        self, denoiser: Callable, z: Tensor, t: Tensor, end: Tensor, condition: Any, scale: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Clean latent and noise of a student's answer; their mixture at `end` is where it arrives."""
        raise NotImplementedError

    def _answer(self, clean: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """What of the two is compared."""
        raise NotImplementedError

    def _goal(self, z: Tensor, t: Tensor, end: Tensor, condition: Any, scale: Tensor) -> Tensor:
        """What the answer would be, were it to arrive where `_landing` does."""
        raise NotImplementedError

    def _landing(self, z: Tensor, t: Tensor, end: Tensor, condition: Any, scale: Tensor) -> Tensor:
        """Where the target arrives from one hop of the teacher further on, or that hop alone where it is at the end."""
        further = torch.maximum(t - self.hop, end)
        arrived = self._teacher_hop(z, t, condition, scale, t - further)
        parts = self._parts(self.target, arrived, further, end, condition, scale)
        landed = schedule.add_noise(*parts, *self._amplitudes(end))
        return torch.where((further == end)[:, None, None, None], arrived, landed)

    def _teacher_hop(self, z: Tensor, t: Tensor, condition: Any, scale: Tensor, length: Tensor | None = None) -> Tensor:
        """The guided teacher's flow over one hop or another length of time, in `teacher_steps` steps.

        DDIM (arXiv 2010.02502, equation 12) keeps the clean latent of a step's beginning; the midpoint method that of
        its middle (DPM-Solver-2, arXiv 2206.00927), for two calls.
        """
        steps, length = self.config.teacher_steps, self.hop if length is None else length
        for step in range(steps):
            now, then = t - length * step // steps, t - length * (step + 1) // steps
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

    def _both(self, output: Tensor, z: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        prediction, (alpha, sigma) = self.sampler.config.prediction_type, self._amplitudes(t)
        return tuple(part(prediction, output, z, alpha, sigma) for part in (schedule.to_z0, schedule.to_noise))

    def _amplitudes(self, t: Tensor) -> tuple[Tensor, Tensor]:
        return schedule.alpha_sigma(self.bars, t + 1)


def build_sampler(config: ConsistencyConfig, scheduler: SchedulerMixin) -> SchedulerMixin:
    """The scheduler that a student is sampled with: noise anew at each step, from segment to segment, or any jumps.

    Errors: UserError for a grid that does not divide the time steps, and for noise prediction at zero terminal SNR.
    """
    if config.jumps:
        every = scheduler.config.num_train_timesteps
        sampler = SegmentScheduler.from_config(scheduler.config, segments=every, grid=config.grid)
    elif config.segments == 1:
        sampler = LCMScheduler.from_config(scheduler.config, original_inference_steps=config.grid, clip_sample=False)
    else:
        sampler = SegmentScheduler.from_config(scheduler.config, segments=config.segments, grid=config.grid)
    steps = sampler.config.num_train_timesteps
    if steps % config.grid:
        raise UserError(f"consistency.grid={config.grid}: must divide the teacher's {steps} time steps")
    if sampler.config.prediction_type == "epsilon" and sampler.alphas_cumprod[-1] == 0:
        raise UserError("teacher: noise prediction at zero terminal SNR says nothing of the image; distil another")
    return sampler


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


def pseudo_huber(error: Tensor, width: float) -> Tensor:
    """Mean of sqrt(error^2 + width^2) - width (Song and Dhariwal, arXiv 2310.14189)."""
    return ((error.square() + width**2).sqrt() - width).mean()
