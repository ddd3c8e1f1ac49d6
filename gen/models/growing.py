"""A trained UNet made deeper: what is new changes nothing at first, so that training goes on and does not begin anew.

Net2Net's deeper networks (Chen et al., arXiv 1511.05641), with residual blocks that begin as the identity.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import torch
from torch import nn

from gen.errors import UserError
from gen.models.denoiser import Backbone, UNet2DConditionModel

BLOCK = re.compile(r"((?:down|up)_blocks\.\d+\.(?:resnets|attentions)\.\d+)\..*")
UP = re.compile(r"up_blocks\.(\d+)\.(resnets|attentions)\.([1-9]\d*)\.(.*)")


def deepened(backbone: Backbone, layers: Sequence[int]) -> UNet2DConditionModel:
    """A UNet with as many residual blocks at each level, finest level first, whose answers are those of the one given.

    Errors: UserError for a transformer, for other levels than the UNet's and for fewer blocks than it has.
    """
    if not isinstance(backbone, UNet2DConditionModel):
        raise UserError("deeper: only UNets can be given more blocks; train a transformer from scratch")
    before = [len(block.resnets) for block in backbone.down_blocks]
    if len(layers) != len(before) or any(new < old for new, old in zip(layers, before, strict=True)):
        raise UserError(f"deeper: {list(layers)} blocks; this UNet has {before}, of which no level can be given fewer")
    new = UNet2DConditionModel.from_config(backbone.config, layers_per_block=list(layers))
    further = [after - old for after, old in zip(layers, before, strict=True)][::-1]  # as blocks go up: coarsest first
    moved = {_place(name, further): value for name, value in backbone.state_dict().items()}
    left = new.load_state_dict(moved, strict=False)
    assert not left.unexpected_keys, left
    for block in {match[1] for match in map(BLOCK.fullmatch, left.missing_keys) if match}:
        _begin_as_identity(new.get_submodule(block))
    return new


def _place(name: str, further: Sequence[int]) -> str:
    """Where a weight belongs: new blocks come last on the way down, and after the first one on the way up.

    So each old block on the way up is still given what the same block on the way down has answered.
    """
    match = UP.fullmatch(name)
    if match is None:
        return name
    return f"up_blocks.{match[1]}.{match[2]}.{int(match[3]) + further[int(match[1])]}.{match[4]}"


@torch.no_grad()
def _begin_as_identity(block: nn.Module) -> None:
    """A residual or attention block that passes on what comes from before, and nothing of the skip connection."""
    last = block.conv2 if hasattr(block, "conv2") else block.proj_out
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    if getattr(block, "conv_shortcut", None) is not None:
        nn.init.dirac_(block.conv_shortcut.weight)
        nn.init.zeros_(block.conv_shortcut.bias)
