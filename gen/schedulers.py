"""The samplers that a model folder may name: diffusers' by a closed list, and our own in the same form."""

from __future__ import annotations

from typing import Literal

import torch
from diffusers import (
    DDIMScheduler,
    DDPMScheduler,
    DEISMultistepScheduler,
    DPMSolverMultistepScheduler,
    DPMSolverSinglestepScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    HeunDiscreteScheduler,
    KDPM2AncestralDiscreteScheduler,
    KDPM2DiscreteScheduler,
    LCMScheduler,
    LMSDiscreteScheduler,
    PNDMScheduler,
    SchedulerMixin,
    TCDScheduler,
    UniPCMultistepScheduler,
)
from diffusers.configuration_utils import register_to_config
from diffusers.schedulers.scheduling_ddim import DDIMSchedulerOutput
from diffusers.utils.torch_utils import randn_tensor
from torch import Tensor


class SegmentScheduler(DDIMScheduler):
    """Draws with a student that answers with the lower edge of each of `segments` equal stretches of time.

    A student that is told where to arrive (gen.objectives.mean_velocity) takes any number of segments; with one a time
    step no noise is taken anew. `grid` is the number of times at which a student was taught; null: at any.

    With no more steps than segments it is DDIM without noise. With more, a step that would end within a segment goes to
    its edge first, as the student has learnt it, and takes as much noise anew as brings it back to where it should end:
    the multistep sampling of consistency models (Song et al., arXiv 2303.01469, algorithm 1), within the segments of
    Heek et al. (arXiv 2403.06807). A linear step that ends within a segment would lie beside the flow.
    """

    @register_to_config
    def __init__(
        self,
        segments: int = 1,
        grid: int | None = None,
        num_train_timesteps: int = 1000,
        beta_start: float = 0.0001,
        beta_end: float = 0.02,
        beta_schedule: str = "linear",
        trained_betas: list[float] | None = None,
        prediction_type: Literal["epsilon", "sample", "v_prediction"] = "epsilon",
        rescale_betas_zero_snr: bool = False,
    ) -> None:
        if segments < 1 or num_train_timesteps % segments:
            raise ValueError(f"segments={segments}: must divide num_train_timesteps={num_train_timesteps}")
        if grid is not None and num_train_timesteps % grid:
            raise ValueError(f"grid={grid}: must divide num_train_timesteps={num_train_timesteps}")
        super().__init__(
            num_train_timesteps=num_train_timesteps,
            beta_start=beta_start,
            beta_end=beta_end,
            beta_schedule=beta_schedule,
            trained_betas=trained_betas,
            prediction_type=prediction_type,
            rescale_betas_zero_snr=rescale_betas_zero_snr,
            clip_sample=False,
            set_alpha_to_one=True,
            timestep_spacing="trailing",
        )

    def set_timesteps(self, num_inference_steps: int, device: str | torch.device | None = None) -> None:
        """Times of a number of steps; each the next noisier one at which the student has learned to answer.

        Errors: ValueError for more steps than there are such times.
        """
        super().set_timesteps(num_inference_steps, device)
        if self.config.grid is None:
            return
        if num_inference_steps > self.config.grid:
            raise ValueError(f"at most {self.config.grid}, the times at which this student was taught")
        hop = self.config.num_train_timesteps // self.config.grid
        self.timesteps = (self.timesteps // hop + 1) * hop - 1

    def step(  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
        model_output: Tensor,
        timestep: int,
        sample: Tensor,
        generator: torch.Generator | list[torch.Generator] | None = None,
        return_dict: bool = True,
    ) -> DDIMSchedulerOutput | tuple[Tensor, Tensor]:
        """The sample at the next time, and the clean one implied by the output. Shapes: [B, C, h, w] -> the same."""
        here, then = int(timestep), self._following(int(timestep))
        edge = self._edge(here)
        clean = super().step(model_output, here, sample).pred_original_sample
        alpha, sigma = self._amplitudes(here)
        moved = self._at(min(edge, then), clean, (sample - alpha * clean) / sigma)
        if then > edge:
            fresh = randn_tensor(sample.shape, generator=generator, device=sample.device, dtype=sample.dtype)
            moved = self._renoised(moved, edge, then, fresh)
        return DDIMSchedulerOutput(prev_sample=moved, pred_original_sample=clean) if return_dict else (moved, clean)

    def ends(self) -> list[int]:
        """Where the student is told to arrive at each time step, before any noise is taken anew; -1 is the data."""
        return [min(self._edge(t), self._following(t)) for t in self.timesteps.tolist()]

    def _edge(self, timestep: int) -> int:
        """The lower edge of a time's segment."""
        length = self.config.num_train_timesteps // self.config.segments
        return timestep // length * length - 1

    def _following(self, timestep: int) -> int:
        """The time after this one; -1 is the data."""
        later = self.timesteps[self.timesteps < timestep]
        return int(later[0]) if len(later) else -1

    def _amplitudes(self, timestep: int) -> tuple[Tensor, Tensor]:
        kept = self.alphas_cumprod[timestep] if timestep >= 0 else self.final_alpha_cumprod
        return kept.sqrt(), (1 - kept).sqrt()

    def _at(self, timestep: int, clean: Tensor, noise: Tensor) -> Tensor:
        alpha, sigma = self._amplitudes(timestep)
        return alpha * clean + sigma * noise

    def _renoised(self, sample: Tensor, timestep: int, later: int, fresh: Tensor) -> Tensor:
        """A sample of one time carried by the forward process to a noisier one."""
        (alpha, sigma), (alpha_later, sigma_later) = self._amplitudes(timestep), self._amplitudes(later)
        kept = alpha_later / alpha
        return kept * sample + (sigma_later.square() - (kept * sigma).square()).clamp_min(0).sqrt() * fresh


OURS = {"SegmentScheduler"}
SCHEDULERS: dict[str, type[SchedulerMixin]] = {
    kind.__name__: kind
    for kind in (
        *(DDIMScheduler, DDPMScheduler, DEISMultistepScheduler, DPMSolverMultistepScheduler),
        *(DPMSolverSinglestepScheduler, EulerAncestralDiscreteScheduler, EulerDiscreteScheduler),
        *(HeunDiscreteScheduler, KDPM2AncestralDiscreteScheduler, KDPM2DiscreteScheduler, LCMScheduler),
        *(LMSDiscreteScheduler, PNDMScheduler, SegmentScheduler, TCDScheduler, UniPCMultistepScheduler),
    )
}
