"""Bone suppression as a task: pairs only, the radiograph clean beside the latent, differences drawn and undone."""

import pandas as pd
import pytest
import torch
from pydantic import ValidationError
from torch.nn import functional as F

from gen.data.pairs import paired_rows
from gen.models.bone import TYPICAL, BoneConditioner, BoneRegressor
from gen.models.condition import Condition
from gen.objectives.diffusion import DiffusionObjective
from gen.schema import DiffusionConfig
from gen.schema.tasks import BoneTaskConfig
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


@pytest.fixture
def regressor():
    torch.manual_seed(0)
    network = BoneRegressor(widths=(8, 8), resolution=32).eval()
    torch.nn.init.normal_(network.out.weight, std=0.05)
    return network


def test_what_a_first_answer_misses(regressor, tmp_path):
    """Drawn is (soft - (image - first bone layer)) / unit, in blocks of pixels; the layer stands beside the image."""
    regressor.save_pretrained(tmp_path)
    config = BoneTaskConfig(residual=0.1, first=tmp_path)
    task = BoneTask(torch.nn.Identity(), BoneTask.new_conditioner(config, (16, 8, 8), 8).train())
    image, soft = (torch.rand(2, 1, 32, 32) * 2 - 1 for _ in range(2))
    folded, z0 = F.pixel_unshuffle(image, 4), F.pixel_unshuffle(soft, 4)
    pair = batch(folded)
    with torch.no_grad():
        expected = regressor.bone(image)
    drawn = task.drawn(z0, pair)
    torch.testing.assert_close(F.pixel_shuffle(drawn, 4), (soft - image + expected) / 0.1, atol=1e-4, rtol=0)
    torch.testing.assert_close(task.finished(drawn, pair), z0)
    spatial = task(pair).spatial
    assert spatial.shape[1] == task.spatial_channels(16) == 32 and torch.equal(spatial[:, :16], folded)
    torch.testing.assert_close(F.pixel_shuffle(spatial[:, 16:] * TYPICAL, 4), expected)


def test_the_first_answer_is_of_the_radiograph_that_is_given(regressor):
    """The validation exchanges radiographs within a batch: what was answered before does not count."""
    task = BoneTask(torch.nn.Identity(), BoneConditioner.refining(8, 0.1, regressor))
    first, other = (torch.rand(1, 16, 8, 8) for _ in range(2))
    exchanged = batch(first)
    before = task(exchanged).spatial
    exchanged |= {"link_image": other[:, None]}
    torch.testing.assert_close(task(exchanged).spatial, task(batch(other)).spatial)
    assert not torch.equal(task(exchanged).spatial, before)


def test_training_leaves_the_first_network_alone(regressor, tmp_path):
    conditioner = BoneConditioner.refining(8, 0.1, regressor).requires_grad_(True).train()
    assert [name for name, weight in conditioner.named_parameters() if weight.requires_grad] == ["token"]
    assert not any(module.training for module in conditioner.regressor.modules())
    conditioner.save_pretrained(tmp_path)
    again = BoneConditioner.from_pretrained(tmp_path)
    image = torch.rand(1, 16, 8, 8)
    assert torch.equal(again.eval().layer(image), conditioner.layer(image))


def test_a_first_answer_needs_a_unit_and_pixels():
    with pytest.raises(ValidationError, match=r"needs task\.residual"):
        BoneTaskConfig(first="runs/bone_unet_256/export")
