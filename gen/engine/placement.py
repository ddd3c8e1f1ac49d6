"""Where the weights of a run lie: a copy on every rank, or parts of one copy spread over the ranks."""

from __future__ import annotations

import warnings
from contextlib import AbstractContextManager
from copy import deepcopy
from pathlib import Path
from typing import Protocol

import torch
from accelerate import Accelerator
from safetensors.torch import load_file, load_model, save_file, save_model
from torch import Tensor, nn

from gen.engine.ema import EMA
from gen.engine.learner import Learner
from gen.engine.optimizers import build_optimizer
from gen.errors import UserError
from gen.schema import TrainConfig

AVERAGES, WEIGHTS, MOMENTS = "averages.safetensors", "model.safetensors", "optimizer.safetensors"


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


def place(accelerator: Accelerator, learner: Learner, config: TrainConfig) -> Placement:
    """Weights as `train.sharded` says; a single rank has nothing to share."""
    if config.sharded and accelerator.num_processes > 1:
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
        self.accelerator.load_state(str(folder))
        load_model(self.ema, folder / AVERAGES)


class Sharded:
    """A part of every weight, gradient, moment and average on each rank (ZeRO-3, arXiv 1910.02054; torch's FSDP2).

    A block's weights are gathered when it is called and let go afterwards. States are saved whole, by the first rank.
    Errors: UserError for a learner that does not shard, and for a gradient scaler, which knows nothing of parts.
    """

    def __init__(self, accelerator: Accelerator, learner: Learner, config: TrainConfig) -> None:
        if not learner.shards():
            raise UserError("train.sharded: this job does not shard; train/ldm.py and train/lcm.py do")
        if accelerator.scaler is not None:
            raise UserError("train.sharded: not with float16; set train.mixed_precision to bf16 or no")
        warnings.filterwarnings("ignore", "FSDP2-wrapped module .* returned a view", UserWarning)  # none is written to
        self.accelerator = accelerator
        self.model = learner.to(accelerator.device)
        _alike(learner)
        self.whole = deepcopy(learner.trained).cpu() if accelerator.is_main_process else None
        self.ema = EMA(learner.trained, config.ema_decay)
        for module in (*learner.shards(), *self.ema.module.values()):
            shard(module, accelerator)
        self.parts = trainable(learner.trained)
        self.optimizer = build_optimizer(self.parts, config)

    def sync(self, last: bool) -> AbstractContextManager:
        """Within it a backward pass exchanges gradients only if it is the step's last."""
        for module in self.model.trained.values():
            module.set_requires_gradient_sync(last)
        return torch.enable_grad()

    def clip(self, norm: float) -> Tensor:
        """Scale all gradients down to this norm together; returns the norm they had."""
        return nn.utils.clip_grad_norm_(self.parts, norm).full_tensor()

    def averaged(self) -> nn.ModuleDict:
        """The averaged modules, gathered on the first rank, in evaluation mode; of no use on the others."""
        state = self._gathered(self.ema.module)
        if self.whole is None:
            return self.ema.module
        self.whole.load_state_dict(state)
        return self.whole.to(self.accelerator.device).eval()

    def save(self, folder: Path) -> None:
        """Gather everything and write it on the first rank."""
        from torch.distributed.checkpoint.state_dict import get_optimizer_state_dict

        weights, averages = self._gathered(self.model), self._gathered(self.ema)
        state = get_optimizer_state_dict(self.model, self.optimizer, options=_options()).get("state", {})
        moments = {f"{kind} {name}": value for name, kinds in state.items() for kind, value in kinds.items()}
        if self.accelerator.is_main_process:
            folder.mkdir(parents=True, exist_ok=True)
            for name, tensors in ((WEIGHTS, weights), (AVERAGES, averages), (MOMENTS, moments)):
                save_file(tensors, folder / name)

    def load(self, folder: Path) -> None:
        """Read what `save` wrote, each rank its parts."""
        from torch.distributed.checkpoint import state_dict

        state_dict.set_model_state_dict(self.model, load_file(folder / WEIGHTS), options=_options())
        state_dict.set_model_state_dict(self.ema, load_file(folder / AVERAGES), options=_options())
        state: dict[str, dict[str, Tensor]] = {}
        for key, value in load_file(folder / MOMENTS).items():
            kind, name = key.split(" ", 1)
            state.setdefault(name, {})[kind] = value
        groups = [{**group, "params": list(state)} for group in self.optimizer.param_groups]
        held = {"state": state, "param_groups": groups}
        state_dict.set_optimizer_state_dict(self.model, self.optimizer, held, options=_options())

    def _gathered(self, module: nn.Module) -> dict[str, Tensor]:
        from torch.distributed.checkpoint.state_dict import get_model_state_dict

        state = get_model_state_dict(module, options=_options())
        return {name: value.clone() for name, value in state.items()}  # tied weights apart


def trainable(module: nn.Module) -> list[nn.Parameter]:
    """The parameters that are trained."""
    return [parameter for parameter in module.parameters() if parameter.requires_grad]


def shard(module: nn.Module, accelerator: Accelerator) -> None:
    """Spread a module's weights over the ranks: those of each block by themselves, the others together."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh(accelerator.device.type, (accelerator.num_processes,))
    for block in blocks(module):
        fully_shard(block, mesh=mesh)
    # what has no backward pass lets go of its weights at once
    fully_shard(module, mesh=mesh, reshard_after_forward=None if trainable(module) else True)


def blocks(module: nn.Module) -> list[nn.Module]:
    """The repeated parts of a network: members of its outermost lists of modules."""
    if type(module) is nn.ModuleList:
        return list(module)
    return [block for child in module.children() for block in blocks(child)]


def _alike(learner: Learner) -> None:
    """Give every rank the first one's weights."""
    for tensor in learner.state_dict().values():
        torch.distributed.broadcast(tensor, 0)


def _options():
    from torch.distributed.checkpoint.state_dict import StateDictOptions

    return StateDictOptions(full_state_dict=True, cpu_offload=True)
