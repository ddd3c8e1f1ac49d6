"""More residual blocks in a trained UNet: the same answers, and blocks that learn."""

import pytest
import torch

from gen.errors import UserError
from gen.models.denoiser import build_denoiser
from gen.models.growing import deepened
from gen.schema import TransformerConfig


@pytest.mark.parametrize("layers", [(1, 1), (3, 1), (1, 2), (2, 3)])
def test_a_deeper_unet_answers_the_same(unet, layers, answers):
    deeper = deepened(unet, layers).eval()
    assert [len(block.resnets) for block in deeper.down_blocks] == list(layers)
    assert [len(block.resnets) for block in deeper.up_blocks] == [number + 1 for number in layers[::-1]]
    assert torch.equal(answers(deeper), answers(unet)) and answers(unet).std() > 0.1


def test_deeper_twice_is_deeper_once(unet, answers):
    assert torch.equal(answers(deepened(deepened(unet, (2, 1)), (3, 2)).eval()), answers(unet))


def test_new_blocks_learn(unet, answers):
    deeper = deepened(unet, (2, 2))
    answers(deeper).square().sum().backward()
    for block in (deeper.down_blocks[0].resnets[1], deeper.up_blocks[0].resnets[1], deeper.up_blocks[1].resnets[1]):
        assert block.conv2.weight.grad.abs().max() > 0
    assert deeper.down_blocks[1].attentions[1].proj_out.weight.grad.abs().max() > 0


@pytest.mark.parametrize("layers", [(2,), (2, 2, 2), (0, 2)])
def test_levels_and_blocks_are_only_added_to(unet, layers):
    with pytest.raises(UserError, match=r"deeper: .* this UNet has \[1, 1\]"):
        deepened(unet, layers)


def test_a_transformer_is_refused():
    config = TransformerConfig(layers=1, heads=2, head_channels=8)
    with pytest.raises(UserError, match="deeper: only UNets"):
        deepened(build_denoiser(config, 4, 8, 16).backbone, (2, 2))
