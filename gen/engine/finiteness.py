"""Losses and gradients that are no numbers: looked for on all ranks together, so that all of them stop."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import Tensor

from gen.errors import UserError


class FiniteCheck:
    """Looks at a loss when the next one is noted, so that the device never waits for the host."""

    def __init__(self, accelerator: Accelerator, run: Path) -> None:
        self.accelerator, self.run = accelerator, run
        self._noted: tuple[Tensor, Tensor, Sequence] | None = None

    def note(self, loss: Tensor, batch: dict, norm: Tensor | None = None) -> None:
        """Keep a loss, the gradient norm where it is known, and the batch's keys for the next check."""
        loss = loss.detach()
        self._noted = loss, loss if norm is None else loss + norm, batch.get("key", [])

    def check(self, step: int) -> None:
        """Errors: UserError on every rank if on any of them what was noted is no number; it names the batch."""
        if self._noted is None:
            return
        loss, both, keys = self._noted
        self._noted = None
        own = torch.stack([~torch.isfinite(loss), ~torch.isfinite(both)]).float()
        everywhere = self.accelerator.reduce(own, reduction="sum") if self.accelerator.num_processes > 1 else own
        if everywhere[1] > 0:  # a gradient that is no number is shared by all ranks, a loss is one rank's own
            mine = own[0] > 0 or everywhere[0] == 0
            where = f"batch {', '.join(map(str, keys))}" if mine else "on another rank"
            raise UserError(
                f"{self.run}: loss or gradient is not finite at step {step} ({where}); "
                "lower train.learning_rate, check these images, then run the same command to go on from the last state"
            )
