"""What a student that guides itself learns, with teachers whose answers are known."""

import pytest
import torch
from pydantic import ValidationError

from gen.objectives import schedule
from gen.objectives.flow import ConsistencyConfig
from gen.objectives.self_guidance import SelfGuidedObjective
from gen.schema import DiffusionConfig

VALUES = {"objective": "self_guided", "grid": 8, "solver": "ddim", "guidance": (1.0, 2.0), "guide_scale": 0.5}
VALUES |= {"guidance_channels": 8, "target_decay": 0.9}


def objective(prediction="v_prediction"):
    base = DiffusionConfig(prediction=prediction, schedule="scaled_linear", zero_terminal_snr=prediction != "epsilon")
    scheduler = schedule.build_scheduler(base)
    return SelfGuidedObjective(ConsistencyConfig(**VALUES), scheduler, answers(3.0), None, answers(1.0))


def answers(factor):
    """Depends on everything that a student is told."""

    def denoiser(z, t, condition, scale, end):
        shape = (-1, 1, 1, 1)
        return factor * (z + t.view(shape) / 1000 + scale.view(shape) + end.view(shape) / 1000)

    return denoiser


@pytest.mark.parametrize("prediction", ["v_prediction", "sample", "epsilon"])
def test_the_guided_teacher_has_learned_it_all(prediction):
    made, z0 = objective(prediction), torch.randn(6, 2, 4, 4, generator=torch.Generator().manual_seed(0))
    loss = lambda student: made(student, z0, None, torch.Generator().manual_seed(1))["self_guided"]  # noqa: E731
    guided = answers(3.0 + 0.5 * (3.0 - 1.0))
    assert loss(guided) < 1e-6 < loss(answers(3.9)) < loss(answers(3.0))


def test_without_a_scale_there_is_nothing_to_learn():
    with pytest.raises(ValidationError, match="guide_scale=0: nothing to learn"):
        ConsistencyConfig(**VALUES | {"guide_scale": 0.0})
