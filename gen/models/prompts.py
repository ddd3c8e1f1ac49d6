"""Token states of prompts that were encoded before."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

import torch
from torch import Tensor, nn

KEPT = 256  # prompts; of 128 tokens of 768 numbers in float32 they take 100 MB
AT_ONCE = 8  # prompts encoded together on a GPU, where so few cost no more than one

Pair = tuple[Tensor, Tensor]  # states and mask
Encode = Callable[[list[str]], Pair]


class KnownPrompts:
    """The states of the last prompts that one encoder saw; forgotten as soon as its weights change or move.

    Kernels round differently at another batch size, so prompts are always encoded the same number at a time: what a
    prompt's states are never depends on its companions or on what was drawn before.
    """

    def __init__(self) -> None:
        self._pairs: OrderedDict[str, Pair] = OrderedDict()
        self._source: tuple = ()
        self._owners: tuple = ()  # kept, so that nothing new can get their ids

    def states(self, prompts: list[str], model: nn.Module, settings: tuple, encode: Encode) -> Pair:
        """Stacked states and masks of prompts; `encode` is asked for those that are new.

        `settings`: what decides the states besides the model. Shapes: B strings -> [B, L, D], [B, L].
        """
        source = (id(model), *map(id, settings), *_condition_of(model))
        if source != self._source:
            self._pairs.clear()
            self._source, self._owners = source, (model, *settings)
        new = [prompt for prompt in dict.fromkeys(prompts) if prompt not in self._pairs]
        self._pairs |= _encoded(new, encode, 1 if next(model.parameters()).device.type == "cpu" else AT_ONCE)
        for prompt in prompts:
            self._pairs.move_to_end(prompt)
        states, masks = zip(*(self._pairs[prompt] for prompt in prompts), strict=True)
        while len(self._pairs) > KEPT:
            self._pairs.popitem(last=False)
        return torch.stack(states), torch.stack(masks)


def _encoded(prompts: list[str], encode: Encode, at_once: int) -> dict[str, Pair]:
    """Pairs by prompt; the last ones are encoded beside empty prompts."""
    pairs: dict[str, Pair] = {}
    for first in range(0, len(prompts), at_once):
        part = prompts[first : first + at_once]
        states, masks = encode(part + [""] * (at_once - len(part)))
        pairs |= {prompt: (states[row].clone(), masks[row].clone()) for row, prompt in enumerate(part)}
    return pairs


def _condition_of(model: nn.Module) -> tuple:
    """Changes whenever weights are moved, converted or written to, or computed with in another precision."""
    weights = list(model.parameters())
    written = sum(0 if weight.is_inference() else weight._version for weight in weights)
    kind = weights[0].device.type
    cast = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else None
    return weights[0].device, weights[0].dtype, cast, written, sum(weight.data_ptr() for weight in weights)
