"""Mean-velocity distillation: a student is told where to arrive and answers with the velocity that brings it there.

Mean flows (Geng et al., arXiv 2505.13447) of a trained, guided teacher, along arcs in place of chords: over an angle d,
z_end = cos(d) z - sin(d) u. With no length left u is the teacher's v, and a DDIM step from t to the end is the jump.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from gen.objectives.flow import FlowObjective


class MeanVelocityObjective(FlowObjective):
    """The error is the mean velocity's, against one hop of the teacher and the target's jump for the rest.

    The derivative in the identity of mean flows, cos(d) (u - v) + sin(d) (z + du/dt) = 0, is a finite difference over
    that hop: a goal in which the student's own answer has no part, and whose gradient differs from that of the
    difference quotient by a weight a sample alone. It needs no forward-mode derivative and is bounded at any d.
    """

    name = "mean_velocity"

    def _times(self, number: Tensor, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """Any lower time of the grid, or the next time step alone, over which the mean velocity is the present one."""
        t = (number + 1) * self.hop - 1
        below = torch.rand(len(number), generator=generator) * (number + 1)
        instant = torch.rand(len(number), generator=generator) < self.config.instants
        return t, torch.where(instant, t - 1, below.long() * self.hop - 1)

    def _parts(
        self, denoiser: Callable, z: Tensor, t: Tensor, end: Tensor, condition: Any, scale: Tensor
    ) -> tuple[Tensor, Tensor]:
        return self._both(denoiser(z, t.clamp_min(0), condition, scale, end).float(), z, t)

    def _answer(self, clean: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        alpha, sigma = self._amplitudes(t)
        return alpha * noise - sigma * clean

    def _goal(self, z: Tensor, t: Tensor, end: Tensor, condition: Any, scale: Tensor) -> Tensor:
        landed = self._landing(z, t, end, condition, scale)
        (alpha, sigma), (alpha_end, sigma_end) = self._amplitudes(t), self._amplitudes(end)
        cosine, sine = alpha * alpha_end + sigma * sigma_end, sigma * alpha_end - alpha * sigma_end
        return (cosine * z - landed) / sine
