"""Fine-tuning by changes of low rank: W + B A for every large weight (LoRA, arXiv 2106.09685), merged when saved.

As a parametrisation of the weights and not as a branch beside the layers: on convolutions that costs nothing.
"""

from __future__ import annotations

from copy import deepcopy
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

Module = TypeVar("Module", bound=nn.Module)


class LowRank(nn.Module):
    """A weight plus a product of two narrow matrices, at first zero."""

    def __init__(self, weight: Tensor, rank: int) -> None:
        super().__init__()
        rows, columns = weight.flatten(1).shape
        self.up = nn.Parameter(torch.zeros(rows, rank))
        self.down = nn.Parameter(torch.randn(rank, columns) / columns**0.5)

    def forward(self, weight: Tensor) -> Tensor:
        """Shapes: [rows, ...] -> the same."""
        return weight + (self.up @ self.down).view_as(weight)


def with_low_rank(model: Module, rank: int, whole: tuple[str, ...] = ()) -> Module:
    """The model with its large weights frozen under changes of this rank; small ones and `whole` are trained whole."""
    for name, layer in list(model.named_modules()):
        if isinstance(layer, nn.Conv2d | nn.Linear) and name not in whole:
            rows, columns = layer.weight.flatten(1).shape
            if rank * (rows + columns) < rows * columns / 2:
                change = LowRank(layer.weight, rank).to(layer.weight)
                layer.weight.requires_grad_(False)
                parametrize.register_parametrization(layer, "weight", change)
    return model


@torch.no_grad()
def plain(model: Module) -> Module:
    """The model with its changes merged into the weights; the model itself where there are none."""
    if not any(isinstance(layer, LowRank) for layer in model.modules()):
        return model
    copy = deepcopy(model)
    for layer in copy.modules():
        if parametrize.is_parametrized(layer, "weight"):
            parametrize.remove_parametrizations(layer, "weight", leave_parametrized=True)
    return copy
