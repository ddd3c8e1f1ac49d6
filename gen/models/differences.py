"""A fine-tuned network as what differs from the network it started from: factors of low rank, and small weights whole.

    W = W0 + B A        (Hu et al., arXiv 2106.09685; here found afterwards, by singular values)

A folder then holds DIFFERENCE beside its `config.json`, and names the model that it differs from. Factors take a byte a
number, and each column of B with its row of A one scale: what rounding adds is far below what the rank leaves out.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

DIFFERENCE = "difference.safetensors"
LEFT, RIGHT, SCALE = "::left", "::right", "::scale"
MOST = 127  # the largest number of eight bits, which is as far below zero as above
NEGLIGIBLE = 1e-6  # of a weight's norm: rounding


def difference(tuned: Mapping[str, Tensor], base: Mapping[str, Tensor], rank: int) -> dict[str, Tensor]:
    """What has to be stored to get `tuned` from `base`: nothing for equal weights, factors where they are smaller.

    A change of higher rank is cut to this one, which is the best approximation in the sum of squares (Eckart and
    Young 1936); `lost` says how much that leaves out.
    """
    stored: dict[str, Tensor] = {}
    for name, weight in tuned.items():
        start = base.get(name)
        if start is None or start.shape != weight.shape:
            stored[name] = weight
            continue
        change = weight.float() - start.float()
        if change.norm() <= NEGLIGIBLE * start.float().norm():
            continue
        matrix = change.flatten(1) if change.ndim > 1 else None
        if matrix is None or rank * sum(matrix.shape) >= matrix.numel():
            stored[name] = weight
            continue
        stored |= _factors(name, matrix, rank)
    return stored


def restored(base: Mapping[str, Tensor], stored: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tuned weights. Shapes: as those of `base`, or those that were stored whole."""
    weights = dict(base)
    for name, value in stored.items():
        if name.endswith(LEFT):
            own = name.removesuffix(LEFT)
            change = _product(value, stored[own + RIGHT], stored.get(own + SCALE), base[own].flatten(1).shape)
            weights[own] = (base[own].float() + change.view(base[own].shape)).to(base[own].dtype)
        elif not name.endswith((RIGHT, SCALE)):
            weights[name] = value
    return weights


def _product(left: Tensor, right: Tensor, scale: Tensor | None, shape: torch.Size) -> Tensor:
    """The change that factors are of; older folders have them in float16 and without a scale.

    Errors: ValueError for factors of another shape than the weight, and bytes without their scale.
    """
    if (left.shape[0], right.shape[1]) != tuple(shape) or left.shape[1] != right.shape[0]:
        raise ValueError(f"factors {tuple(left.shape)} and {tuple(right.shape)} of a weight of shape {tuple(shape)}")
    if scale is None and torch.int8 not in (left.dtype, right.dtype):
        return left.float() @ right.float()
    if scale is None or scale.shape != left.shape[1:]:
        raise ValueError("factors of eight bits without a scale for each")
    return left.float() * scale.float() @ right.float()


def lost(tuned: Mapping[str, Tensor], base: Mapping[str, Tensor], stored: Mapping[str, Tensor]) -> float:
    """Share of the squared change that the stored difference leaves out."""
    again = restored(base, stored)
    changes = [(name, weight) for name, weight in tuned.items() if name in base and base[name].shape == weight.shape]
    missing = sum((again[name].float() - weight.float()).square().sum().item() for name, weight in changes)
    whole = sum((base[name].float() - weight.float()).square().sum().item() for name, weight in changes)
    return missing / whole if whole else 0.0


def _factors(name: str, matrix: Tensor, rank: int) -> dict[str, Tensor]:
    left, values, right = torch.linalg.svd(matrix, full_matrices=False)
    kept = min(rank, int((values > NEGLIGIBLE * values[0]).sum()))
    (columns, above), (rows, beside) = _bytes(left[:, :kept], 0), _bytes(right[:kept], 1)
    return {name + LEFT: columns, name + RIGHT: rows, name + SCALE: values[:kept] * above * beside}


def _bytes(vectors: Tensor, along: int) -> tuple[Tensor, Tensor]:
    """Unit vectors along a dimension in steps of a scale each. Shapes: [m, n] -> int8 [m, n], the other dimension."""
    scale = vectors.abs().amax(along) / MOST
    return (vectors / scale.unsqueeze(along)).round().to(torch.int8).contiguous(), scale
