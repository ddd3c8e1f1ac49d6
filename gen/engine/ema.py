"""Averaged weights."""

from __future__ import annotations

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel


class EMA(AveragedModel):
    """Exponential moving average whose decay warms up: min(decay, (1 + n) / (10 + n)) after n updates."""

    def __init__(self, module: nn.Module, decay: float) -> None:
        super().__init__(module, use_buffers=False)
        self.decay = decay

    def update_parameters(self, module: nn.Module) -> None:
        """Move every average towards the module's weights; buffers are copied."""
        count = int(self.n_averaged)
        decay = min(self.decay, (1 + count) / (10 + count))
        averages, weights = ([weight.detach() for weight in part.parameters()] for part in (self.module, module))
        torch._foreach_lerp_(averages, weights, 1 - decay)  # as torch's own average does
        for averaged, current in zip(self.module.buffers(), module.buffers(), strict=True):
            averaged.copy_(current)
        self.n_averaged += 1
