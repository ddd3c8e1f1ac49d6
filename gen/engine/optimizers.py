"""The optimizers that a config may name."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn

from gen.errors import UserError
from gen.schema import TrainConfig


def build_optimizer(parameters: Iterable[nn.Parameter], config: TrainConfig) -> torch.optim.Optimizer:
    """AdamW (arXiv 1711.05101), its moments in 32 or in 8 bits a weight (arXiv 2110.02861, extra [low-memory]).

    Errors: UserError where the extra is not there.
    """
    settings = {"lr": config.learning_rate, "betas": config.betas, "weight_decay": config.weight_decay}
    if config.optimizer == "adamw":
        return torch.optim.AdamW(parameters, **settings, fused=True)
    try:
        from torchao.optim import AdamW8bit  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise UserError(
            "train.optimizer=adamw8bit: 8-bit moments need the extra: pip install 'cxr-gen[low-memory]'"
        ) from None
    return AdamW8bit(parameters, **settings)


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate of all groups; compiled optimizers keep theirs in a tensor."""
    for group in optimizer.param_groups:
        if isinstance(group["lr"], torch.Tensor):
            group["lr"].fill_(rate)
        else:
            group["lr"] = rate
