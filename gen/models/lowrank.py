"""Fine-tuning by changes of low rank: W + B A for every large weight (LoRA, arXiv 2106.09685), merged when saved.

As a parametrisation of the weights and not as a branch beside the layers: on convolutions that costs nothing.
"""

from __future__ import annotations

from typing import TypeVar

import torch
from diffusers import ModelMixin
from torch import Tensor, nn
from torch.nn.utils import parametrize

Module = TypeVar("Module", bound=nn.Module)
Model = TypeVar("Model", bound=ModelMixin)


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
def merged_weights(model: nn.Module) -> dict[str, Tensor]:
    """The state of the model as it would be without parametrisations, changes added to their weights."""
    weights = {name: value for name, value in model.state_dict().items() if ".parametrizations." not in name}
    for name, layer in model.named_modules():
        if parametrize.is_parametrized(layer, "weight"):
            weights[f"{name}.weight"] = layer.weight.detach().clone()
    return weights


def plain(model: Model) -> Model:
    """A diffusers model with its changes merged into its weights; the model itself where there are none.

    Built anew, for taking parametrisations out of a copy takes them out of the class that it shares with the original.
    """
    if not any(isinstance(layer, LowRank) for layer in model.modules()):
        return model
    fresh = type(model).from_config(model.config)
    fresh.load_state_dict(merged_weights(model))
    return fresh.to(model.device, model.dtype).eval()
