"""Bone suppression as a task: pairs only, the radiograph clean beside the latent, differences drawn and undone."""

import pandas as pd
import pytest
import torch

from gen.data.pairs import paired_rows
from gen.models.bone import BoneConditioner
from gen.models.condition import Condition
from gen.objectives.diffusion import DiffusionObjective
from gen.schema import DiffusionConfig
from gen.tasks.bone import BoneTask

SHAPE = (2, 4, 8, 8)


def batch(images):
    return {"link_image": images[:, None], "link_image_mask": torch.ones(len(images), 1, dtype=torch.bool)}


def test_rows_without_a_pair_and_laterals_are_left_out():
    rows = pd.DataFrame({"image": list("abcd"), "soft": ["s", "", None, "s"], "view": ["PA", "PA", "AP", "LATERAL"]})
    assert paired_rows(rows)["image"].tolist() == ["a"]
    assert paired_rows(rows.drop(columns="soft")).empty


@pytest.mark.parametrize("residual", [None, 0.25])
def test_what_is_drawn_can_be_undone(residual):
    torch.manual_seed(0)
    image, soft = torch.randn(SHAPE), torch.randn(SHAPE)
    task = BoneTask(torch.nn.Identity(), BoneConditioner(8, residual))
    drawn = task.drawn(soft, batch(image))
    assert torch.equal(drawn, soft) == (residual is None)
    torch.testing.assert_close(task.finished(drawn, batch(image)), soft)


def test_nothing_drawn_is_nothing_changed():
    image = torch.randn(SHAPE)
    task = BoneTask(torch.nn.Identity(), BoneConditioner(8, 0.25))
    assert torch.equal(task.finished(torch.zeros(SHAPE), batch(image)), image)


def test_the_radiograph_stands_clean_beside_the_latent():
    image = torch.randn(SHAPE)
    task = BoneTask(torch.nn.Identity(), BoneConditioner(8))
    assert torch.equal(task(batch(image)).drop(1.0).spatial, image)


@pytest.mark.parametrize("scaled", [False, True])
def test_the_reference_systems_scale_the_condition_in_training(scaled):
    """x_t of the condition half is sqrt(alpha_bar_t) times it, by their code; ours leaves it alone."""
    config = DiffusionConfig(prediction="epsilon", schedule="squaredcos_cap_v2", scaled_condition=scaled)
    objective, seen = DiffusionObjective(config), {}
    tokens, mask = torch.zeros(2, 1, 4), torch.ones(2, 1, dtype=torch.bool)
    condition = Condition(tokens, mask, tokens, mask, spatial=torch.ones(SHAPE))

    def denoiser(z, t, condition):
        seen.update(t=t, spatial=condition.spatial)
        return torch.zeros_like(z)

    objective(denoiser, torch.randn(SHAPE), condition)
    expected = objective.scheduler.alphas_cumprod[seen["t"]].sqrt() if scaled else torch.ones(2)
    torch.testing.assert_close(seen["spatial"], expected[:, None, None, None].expand(SHAPE))
