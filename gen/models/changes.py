"""A model stored as what differs from another one: products of narrow matrices where those are enough."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from gen.errors import UserError
from gen.models.folders import said_plainly

FILE = "changes.safetensors"
UP, DOWN = ".up", ".down"
EXACT = 2e-3  # share of a change's norm that its product may miss; fine-tuning at low rank leaves less


def changes_of(weights: Mapping[str, Tensor], base: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What to add to the base's weights, as float16; whole weights where the base has none of that shape.

    A change that is a product of two matrices of less than half its size is stored as `NAME.up` and `NAME.down`.
    """
    found: dict[str, Tensor] = {}
    for name, weight in weights.items():
        if name not in base or base[name].shape != weight.shape:
            found[name] = weight
            continue
        change = weight.float() - base[name].float()
        if change.abs().max() > 0:
            factors = _factors(change) if change.ndim > 1 else None
            found |= {name: weight} if factors is None else {f"{name}{UP}": factors[0], f"{name}{DOWN}": factors[1]}
    return {name: tensor.to(torch.float16).contiguous() for name, tensor in found.items()}


def _factors(change: Tensor) -> tuple[Tensor, Tensor] | None:
    """Two matrices whose product is the change, by its singular values; None where they would not be much smaller."""
    matrix = change.flatten(1)
    left, values, right = torch.linalg.svd(matrix, full_matrices=False)
    missed = values.square().flip(0).cumsum(0).flip(0).sqrt()  # norm of what is left out from here on
    rank = max(1, int((missed > EXACT * missed[0]).sum()))
    if 2 * rank * sum(matrix.shape) > matrix.numel():
        return None
    root = values[:rank].sqrt()
    return left[:, :rank] * root, root[:, None] * right[:rank]


def with_changes(base: Mapping[str, Tensor], changes: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights of the changed model, in float32."""
    weights = {name: tensor.float() for name, tensor in base.items()}
    for name, tensor in changes.items():
        if name.endswith(UP):
            own = name.removesuffix(UP)
            product = tensor.float() @ changes[f"{own}{DOWN}"].float()
            weights[own] = weights[own] + product.view_as(weights[own])
        elif not name.endswith(DOWN):
            weights[name] = tensor.float()
    return weights


def save_changes(weights: Mapping[str, Tensor], base: Mapping[str, Tensor], folder: Path) -> None:
    """Write changes.safetensors into a folder."""
    save_file(changes_of(weights, base), folder / FILE)


def load_changed(base: Mapping[str, Tensor], folder: Path) -> dict[str, Tensor]:
    """Weights from a base and the changes in a folder. Errors: UserError for changes of another base."""
    with said_plainly(folder, "set of changes"):
        if not (folder / FILE).is_file():
            raise UserError(f"{folder}: {FILE} is missing; fetch the model folder again")
        return with_changes(base, load_file(folder / FILE))
