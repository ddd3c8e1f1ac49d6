"""A small UNet that is trained, as far as its answers tell, and what it is asked."""

import pytest
import torch

from gen.models.denoiser import build_denoiser
from gen.schema import UNetConfig

BASE = UNetConfig(block_out_channels=(32, 64), layers_per_block=1, attention_levels=(False, True), head_channels=16)


@pytest.fixture
def unet():
    """No layer of it is zero."""
    torch.manual_seed(0)
    backbone = build_denoiser(BASE, 4, 8, 24).backbone.eval()
    torch.nn.init.normal_(backbone.conv_out.weight, std=0.1)
    return backbone


@pytest.fixture
def answers():
    """What a UNet of this shape says to the same latents, times and words."""
    random = torch.Generator().manual_seed(1)
    z, words = torch.randn(2, 4, 8, 8, generator=random), torch.randn(2, 5, 24, generator=random)
    return lambda unet: unet(z, torch.tensor([10, 900]), words).sample
