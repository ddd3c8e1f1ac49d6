"""A few-step student learns to answer as it would if it were guided away from its own weaker self, in one call.

Guidance distillation (Meng et al., arXiv 2210.03142, first stage), of autoguidance (Karras et al., arXiv 2406.02507) in
place of the classifier-free one, which the student is told already.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from gen.objectives.mean_velocity import MeanVelocityObjective


class SelfGuidedObjective(MeanVelocityObjective):
    """The goal is u + scale (u - u'), of the teacher, a student of mean velocities itself, and of its weaker self.

    Both are asked for the same jump, so the goal has no noise of its own and a few hundred steps do.
    """

    name = "self_guided"

    def _goal(self, z: Tensor, t: Tensor, end: Tensor, condition: Any, scale: Tensor) -> Tensor:
        own, weaker = (
            self._answer(*self._parts(one, z, t, end, condition, scale), t) for one in (self.teacher, self.guide)
        )
        return own + self.config.guide_scale * (own - weaker)
