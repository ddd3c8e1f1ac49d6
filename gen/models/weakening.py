"""A weaker self of a trained UNet, which errs as it does, only more: what autoguidance moves away from."""

from __future__ import annotations

from copy import deepcopy

import torch
from diffusers import UNet2DConditionModel
from diffusers.models.resnet import ResnetBlock2D

from gen.errors import UserError
from gen.models.denoiser import Backbone


@torch.no_grad()
def weakened(backbone: Backbone, share: float) -> UNet2DConditionModel:
    """A copy whose residual blocks at the coarsest level, where the anatomy is laid out, add only a share of theirs.

    A bad version of the model itself (Karras et al., arXiv 2406.02507) that need not be trained, as perturbed attention
    is one (Ahn et al., arXiv 2403.17377). `share` is in 0..1: 1 is the model itself, 0 leaves those blocks out.
    Errors: UserError for a transformer, which has no coarsest level.
    """
    if not isinstance(backbone, UNet2DConditionModel):
        raise UserError("weakened: only UNets have a coarsest level; give a less trained model as guide")
    weaker = deepcopy(backbone)
    for level in (weaker.down_blocks[-1], weaker.mid_block, weaker.up_blocks[0]):
        for block in level.modules():
            if isinstance(block, ResnetBlock2D):
                block.conv2.weight.mul_(share)
                block.conv2.bias.mul_(share)
    return weaker
