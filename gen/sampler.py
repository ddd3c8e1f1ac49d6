"""The denoising loop of every task: noise and a condition in, latents out."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from diffusers import DDIMScheduler, DDPMScheduler, LCMScheduler, SchedulerMixin, TCDScheduler
from torch import Tensor

from gen import seeds
from gen.errors import UserError
from gen.models.condition import Condition, FirstAnswer
from gen.models.denoiser import Denoiser
from gen.schedulers import SegmentScheduler

ANSWERED = 0.25  # of time, from pure noise: the share in which a first answer stands for what steps would find
FORGETFUL = (DDIMScheduler, DDPMScheduler, LCMScheduler, TCDScheduler)  # samplers that go on from the latents alone
Callback = Callable[[int, Tensor, Tensor], Tensor]  # number of the step, its time, latents -> latents to go on with


def denoise(
    denoiser: Denoiser,
    scheduler: SchedulerMixin,
    condition: Condition,
    z: Tensor,
    steps: int,
    guidance: float,
    image_seeds: list[int],
    callback: Callback | None = None,
    progress: Callable[[Iterable], Iterable] = iter,
    first: FirstAnswer | None = None,
) -> Tensor:
    """Latents from unit noise z, each image with a stream of its own for whatever noise the scheduler draws.

    A distilled student is told the guidance (one of mean velocities also where the step ends) and called once a step;
    any other model is called once at guidance 1, and otherwise on null and condition in one batch (Ho and Salimans,
    arXiv 2207.12598). The denoiser computes in the type of z, the scheduler in float32. Times stay on the host, where
    the schedulers keep their tables, so that nothing in the loop waits for the device. With FORGETFUL samplers a first
    answer stands for the steps that end in the noisiest part of time; they cost nothing where all rows have one.
    Shapes: z [B, C, h, w] -> [B, C, h, w] float32. Errors: UserError for a number of steps that the scheduler refuses.
    """
    try:
        scheduler.set_timesteps(steps)
    except ValueError as error:
        raise UserError(f"steps={steps}: {type(scheduler).__name__} refuses ({error})") from None
    predict = _predictor(denoiser, condition, z, guidance)
    extra = _step_arguments(scheduler, image_seeds)
    dtype, begun = z.dtype, _Beginning(scheduler, None if first is None else first.guided(guidance), z.float())
    z = z.float() * scheduler.init_noise_sigma
    device_times = scheduler.timesteps.to(z.device)
    times = zip(scheduler.timesteps, device_times, _ends(scheduler, device_times), strict=True)
    for number, (t, time, end) in enumerate(progress(list(times))):
        if not begun.spares(number):
            output = predict(scheduler.scale_model_input(z, t).to(dtype), time, end).float()
            z = scheduler.step(output, t, z, **extra, return_dict=False)[0]
        z = begun.over(number, z)
        if callback is not None:
            z = callback(number, t, z)
    return z


def _predictor(
    denoiser: Denoiser, condition: Condition, z: Tensor, guidance: float
) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """The guided denoiser as a function of latents, time and the step's end; what steps share is made here, once."""
    if denoiser.embeds_guidance:
        scales = torch.full((len(z),), float(guidance), device=z.device)
        if denoiser.embeds_end:
            return lambda x, t, end: denoiser(x, t, condition, scales, end)
        return lambda x, t, end: denoiser(x, t, condition, scales)
    if guidance == 1:
        return lambda x, t, end: denoiser(x, t, condition)
    both = condition.cat_null()

    def guided(x: Tensor, t: Tensor, end: Tensor) -> Tensor:
        null, given = denoiser(torch.cat([x, x]), t, both).chunk(2)
        return null + guidance * (given - null)

    return guided


def _ends(scheduler: SchedulerMixin, times: Tensor) -> Tensor:
    """Where each step ends; for samplers that combine outputs the next time step. Shapes: [N] -> [N]."""
    if isinstance(scheduler, SegmentScheduler):
        return times.new_tensor(scheduler.ends())
    if not isinstance(scheduler, DDIMScheduler):
        return times - 1
    return torch.cat([times[1:], times.new_full((1,), -1)])


class _Beginning:
    """The steps for which a first answer stands: those that end in the noisiest part of time.

    There are none without an answer, and for samplers that remember more than the latents, for those undo it.
    """

    def __init__(self, scheduler: SchedulerMixin, first: FirstAnswer | None, noise: Tensor) -> None:
        self.first, self.noise, self.kept = first, noise, []
        if first is None or not isinstance(scheduler, FORGETFUL):
            return
        earliest = (1 - ANSWERED) * scheduler.config.num_train_timesteps - 1
        ends = [int(t) for t in scheduler.timesteps[1:] if t >= earliest]
        self.kept = [float(scheduler.alphas_cumprod[t]) for t in ends]  # the image's share of the variance
        self.alone = _takes_no_noise(scheduler) and bool(first.known.all())

    def spares(self, number: int) -> bool:
        """Whether nobody needs what the denoiser would say at this step."""
        return number < len(self.kept) and self.alone

    def over(self, number: int, z: Tensor) -> Tensor:
        """The latents after this step, with the answer in the rows that have one. Shapes: [B, C, h, w] -> the same."""
        return self.first.over(z, self.noise, self.kept[number]) if number < len(self.kept) else z


def _takes_no_noise(scheduler: SchedulerMixin) -> bool:
    """Whether its steps leave an image's stream of noise as it was, so that one may be left out."""
    if isinstance(scheduler, SegmentScheduler):
        return len(scheduler.timesteps) <= scheduler.config.segments
    return isinstance(scheduler, DDIMScheduler)


def _step_arguments(scheduler: SchedulerMixin, image_seeds: list[int]) -> dict:
    """Samplers that draw noise draw it from each image's own stream."""
    accepted = scheduler.step.__code__.co_varnames[: scheduler.step.__code__.co_argcount]
    if "generator" not in accepted:
        return {}
    return {"generator": [seeds.generator("image", seed, "steps") for seed in image_seeds]}
