"""Where the weights of a run lie: a copy on every rank, or parts of one copy spread over the ranks."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

import torch
from accelerate import Accelerator
from safetensors.torch import load_model, save_model
from torch import Tensor, nn

from gen.engine.ema import EMA
from gen.engine.learner import Learner
from gen.engine.optimizers import build_optimizer
from gen.errors import UserError
from gen.schema import TrainConfig

AVERAGES = "averages.safetensors"
MOMENTS, SHARDED_MOMENTS = "optimizer.bin", "optimizer.safetensors"  # the first is accelerate's name


class Placement(Protocol):
    """What the loop asks of weights, optimizer and averages, wherever they lie. Every rank calls every method."""

    model: nn.Module  # called with a batch
    optimizer: torch.optim.Optimizer
    ema: EMA

    def sync(self, last: bool) -> AbstractContextManager: ...
    def clip(self, norm: float) -> Tensor: ...
    def averaged(self) -> nn.ModuleDict: ...
    def save(self, folder: Path) -> None: ...
    def load(self, folder: Path) -> None: ...
    def close(self) -> None: ...


def place(accelerator: Accelerator, learner: Learner, config: TrainConfig) -> Placement:
    """Weights as `train.sharded` says; a single rank has nothing to share."""
    if config.sharded and accelerator.num_processes > 1:
        from gen.engine.sharding import Sharded  # a second or two of imports

        return Sharded(accelerator, learner, config)
    return Replicated(accelerator, learner, config)


class Replicated:
    """All weights on every rank, gradients averaged between them (DistributedDataParallel), or one rank alone."""

    def __init__(self, accelerator: Accelerator, learner: Learner, config: TrainConfig) -> None:
        self.accelerator = accelerator
        optimizer = build_optimizer(trainable(learner.trained), config)
        self.model, self.optimizer = accelerator.prepare(learner, optimizer)
        self.ema = EMA(learner.trained, config.ema_decay)  # after the ranks have been given the same weights

    def sync(self, last: bool) -> AbstractContextManager:
        """Within it a backward pass exchanges gradients only if it is the step's last."""
        return torch.enable_grad() if last else self.accelerator.no_sync(self.model)

    def clip(self, norm: float) -> Tensor:
        """Scale all gradients down to this norm together; returns the norm they had."""
        return self.accelerator.clip_grad_norm_(self.model.parameters(), norm)

    def averaged(self) -> nn.ModuleDict:
        """The averaged modules, in evaluation mode."""
        return self.ema.module.eval()

    def save(self, folder: Path) -> None:
        """Write all that a rank needs to go on."""
        self.accelerator.save_state(str(folder))
        if self.accelerator.is_main_process:
            save_model(self.ema, str(folder / AVERAGES))

    def load(self, folder: Path) -> None:
        """Read what `save` wrote."""
        same_layout(folder, SHARDED_MOMENTS)
        self.accelerator.load_state(str(folder))
        load_model(self.ema, folder / AVERAGES)

    def close(self) -> None:
        """Nothing is held that outlives the run."""


def same_layout(folder: Path, other: str) -> None:
    """Errors: UserError for a state of an earlier version, or of the other placement, which writes a file `other`."""
    if (folder / "custom_checkpoint_0.pkl").is_file():
        raise UserError(f"{folder}: saved by an earlier version, whose states cannot be read; choose another run=")
    if (folder / other).is_file():
        raise UserError(
            f"{folder}: train.sharded is saved otherwise by one process than by several; start as many again"
        )


def trainable(module: nn.Module) -> list[nn.Parameter]:
    """The parameters that are trained."""
    return [parameter for parameter in module.parameters() if parameter.requires_grad]
