"""Consistency distillation: a student that answers from any noise with what its guided teacher reaches in many steps.

Latent consistency models (Luo et al., arXiv 2310.04378); with several segments, multistep consistency models
(Heek et al., arXiv 2403.06807).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from gen.objectives.flow import FlowObjective

SIGMA_DATA = 0.5  # of the boundary scalings, as LCMScheduler has it


class ConsistencyObjective(FlowObjective):
    """The student's clean latent brings it to its segment's lower edge; the error is that latent's."""

    name = "consistency"

    def _times(self, number: Tensor, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        length = self.config.grid // self.config.segments
        return (number + 1) * self.hop - 1, (number // length) * length * self.hop - 1

    def _parts(
        self, denoiser: Callable, z: Tensor, t: Tensor, end: Tensor, condition: Any, scale: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Clean latent within the boundary scalings, and the noise that goes with it."""
        time = t.clamp_min(0)
        clean, noise = self._both(denoiser(z, time, condition, scale).float(), z, t)
        skip, out = boundary_scalings(time, self.sampler.config.get("timestep_scaling", 10.0))
        return skip * z + out * clean, noise

    def _answer(self, clean: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        return clean

    def _goal(self, z: Tensor, t: Tensor, end: Tensor, condition: Any, scale: Tensor) -> Tensor:
        landed = self._landing(z, t, end, condition, scale)
        (alpha, sigma), (alpha_end, sigma_end) = self._amplitudes(t), self._amplitudes(end)
        return (landed - sigma_end / sigma * z) / (alpha_end - sigma_end / sigma * alpha)


def boundary_scalings(t: Tensor, scaling: float) -> tuple[Tensor, Tensor]:
    """c_skip and c_out: 1 and 0 at time 0 (Luo et al., appendix; the formulas of LCMScheduler). [B] -> [B, 1, 1, 1]."""
    scaled = (t * scaling).view(-1, 1, 1, 1)
    total = scaled.square() + SIGMA_DATA**2
    return SIGMA_DATA**2 / total, scaled / total.sqrt()
