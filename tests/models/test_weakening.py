"""The weaker self of a UNet: which blocks give way, and how much."""

import pytest
import torch

from gen.errors import UserError
from gen.models.denoiser import build_denoiser
from gen.models.weakening import weakened
from gen.schema import TransformerConfig


def test_a_share_of_one_is_the_model_itself_and_it_is_left_as_it_was(unet, answers):
    before = answers(unet)
    assert torch.equal(answers(weakened(unet, 1.0)), before)
    assert not torch.equal(answers(weakened(unet, 0.5)), before) and torch.equal(answers(unet), before)


def test_only_the_coarsest_level_gives_way(unet):
    told = {
        name
        for name, weight in weakened(unet, 0.25).state_dict().items()
        if not torch.equal(weight, unet.state_dict()[name])
    }
    assert told and all(name.startswith(("down_blocks.1.", "mid_block.", "up_blocks.0.")) for name in told)
    assert {name.rsplit(".", 2)[1] for name in told} == {"conv2"}


def test_at_zero_a_block_passes_on_what_comes_from_before(unet):
    block = weakened(unet, 0.0).mid_block.resnets[0]
    x, time = torch.randn(1, 64, 4, 4), torch.randn(1, unet.time_embedding.linear_2.out_features)
    assert torch.equal(block(x, time), x) and not torch.equal(unet.mid_block.resnets[0](x, time), x)


def test_a_transformer_has_no_coarsest_level():
    config = TransformerConfig(layers=1, heads=2, head_channels=8)
    with pytest.raises(UserError, match="only UNets have a coarsest level"):
        weakened(build_denoiser(config, 4, 8, 24).backbone, 0.5)
