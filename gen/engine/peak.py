"""The most bytes that a computation holds at a time, and how that grows with its batch."""

from __future__ import annotations

import itertools
import weakref
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class PeakBytes(TorchDispatchMode):
    """Counts the bytes of living tensors that operations make, views of one storage once, and their largest sum.

    What `modules` hold beforehand is left out; gradients are counted.
    """

    def __init__(self, *modules: nn.Module) -> None:
        super().__init__()
        self.live = self.peak = 0
        held = itertools.chain(*((*module.parameters(), *module.buffers()) for module in modules))
        self._known = {tensor.untyped_storage()._cdata for tensor in held}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation and count what it returns."""
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor):
                self._add(tensor.untyped_storage())
        return result

    def _add(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key not in self._known:
            self._known.add(key)
            self.live += size
            self.peak = max(self.peak, self.live)
            weakref.finalize(storage, self._free, key, size)

    def _free(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.live -= size


@dataclass(frozen=True)
class Curve:
    """Peak bytes by batch size, straight between measured points and beyond: never too little, as it bends upwards."""

    points: tuple[tuple[int, int], ...]

    def at(self, batch: float) -> float:
        """Bytes at a batch size, whole or not."""
        pairs = list(itertools.pairwise(self.points))
        (x0, y0), (x1, y1) = next((pair for pair in pairs if batch <= pair[1][0]), pairs[-1])
        return max(y0 + (batch - x0) * (y1 - y0) / (x1 - x0), 0)

    def largest(self, budget: float, share: float = 1.0) -> int:
        """Images that fit into a number of bytes, each counting as `share` of those measured; 0 where not even one."""
        batch = 0
        while self.at((batch + 1) * share) <= budget and batch < 4096:
            batch += 1
        return batch
