"""Weights in parts over the ranks: torch's FSDP2, on GPUs over NCCL and on CPUs over gloo."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from contextlib import AbstractContextManager
from copy import deepcopy
from pathlib import Path

import torch
from accelerate import Accelerator
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard, register_fsdp_forward_method
from torch.utils import _pytree

from gen.engine.ema import EMA
from gen.engine.learner import Learner
from gen.engine.optimizers import build_optimizer
from gen.engine.placement import AVERAGES, MOMENTS, SHARDED_MOMENTS, same_layout, trainable
from gen.errors import UserError
from gen.models.condition import Condition
from gen.schema import TrainConfig

WEIGHTS = "model.safetensors"
WHOLE = StateDictOptions(full_state_dict=True, cpu_offload=True)


class Sharded:
    """A part of every weight, gradient, moment and average on each rank (ZeRO-3, arXiv 1910.02054; torch's FSDP2).

    A block's weights are gathered when it is called, in bfloat16 where that is computed in, and let go afterwards.
    States are saved whole, by the first rank. Errors: UserError for a learner that does not shard, and for a gradient
    scaler, which knows nothing of parts.
    """

    def __init__(self, accelerator: Accelerator, learner: Learner, config: TrainConfig) -> None:
        if not learner.shards():
            raise UserError("train.sharded: this job does not shard; train/ldm.py and train/lcm.py do")
        if accelerator.scaler is not None:
            raise UserError("train.sharded: not with float16; set train.mixed_precision to bf16 or no")
        warnings.filterwarnings("ignore", "FSDP2-wrapped module .* returned a view", UserWarning)  # none is written to
        self.accelerator = accelerator
        self.whole = deepcopy(learner.trained).cpu()
        self.mesh = init_device_mesh(accelerator.device.type, (accelerator.num_processes,))
        half = accelerator.mixed_precision == "bf16"
        self.model = learner.to(accelerator.device)
        _spread(self.model, learner.shards(), self.mesh, half)
        self.ema = EMA(self.whole, config.ema_decay).to(accelerator.device)
        _spread(self.ema, list(self.ema.module.values()), self.mesh, half)
        self.parts = trainable(learner.trained)
        self.optimizer = build_optimizer(self.parts, config)

    def sync(self, last: bool) -> AbstractContextManager:
        """Gradients are exchanged at every backward pass: to wait, a rank would have to hold them whole."""
        return torch.enable_grad()

    def clip(self, norm: float) -> Tensor:
        """Scale all gradients down to this norm together; returns the norm they had."""
        return nn.utils.clip_grad_norm_(self.parts, norm).full_tensor()

    def averaged(self) -> nn.ModuleDict:
        """The averaged modules, gathered on the first rank, in evaluation mode; of no use on the others."""
        state = _gathered(self.ema.module)
        if not self.accelerator.is_main_process:
            return self.whole
        module = deepcopy(self.whole)
        module.load_state_dict(state)
        return module.to(self.accelerator.device).eval()

    def save(self, folder: Path) -> None:
        """Gather one thing after the other and write it on the first rank."""
        for name, module in ((WEIGHTS, self.model), (AVERAGES, self.ema)):
            self._write(folder / name, _gathered(module))
        state = get_optimizer_state_dict(self.model, self.optimizer, options=WHOLE).get("state", {})
        moments = {f"{kind} {name}": value for name, kinds in state.items() for kind, value in kinds.items()}
        self._write(folder / SHARDED_MOMENTS, moments)

    def close(self) -> None:
        """Let the ranks' group go: torch's caches keep the mesh, it the group, whose threads would outlive the run."""
        getattr(self.mesh, "_pg_registry", {}).clear()

    def _write(self, path: Path, tensors: dict[str, Tensor]) -> None:
        if self.accelerator.is_main_process:
            path.parent.mkdir(parents=True, exist_ok=True)
            save_file(tensors, path)

    def load(self, folder: Path) -> None:
        """Read what `save` wrote, each rank its parts."""
        same_layout(folder, MOMENTS)
        for name, module in ((WEIGHTS, self.model), (AVERAGES, self.ema)):
            set_model_state_dict(module, load_file(folder / name), options=WHOLE)
        state: dict[str, dict[str, Tensor]] = {}
        for key, value in load_file(folder / SHARDED_MOMENTS).items():
            kind, name = key.split(" ", 1)
            state.setdefault(name, {})[kind] = value
        groups = [{**group, "params": list(state)} for group in self.optimizer.param_groups]
        held = {"state": state, "param_groups": groups}
        set_optimizer_state_dict(self.model, self.optimizer, held, options=WHOLE)


def _spread(owner: nn.Module, modules: Sequence[nn.Module], mesh: DeviceMesh, half: bool) -> None:
    """Give every rank the first one's weights, then leave it but its part of those of the modules."""
    if Condition not in _pytree.SUPPORTED_NODES:  # torch 2.11 looks for a module's outputs among these only
        _pytree.register_dataclass(Condition)
    for tensor in owner.state_dict().values():
        torch.distributed.broadcast(tensor, 0)
    for module in modules:
        _shard(module, mesh, half)


def _shard(module: nn.Module, mesh: DeviceMesh, half: bool) -> None:
    """Spread a module's weights over the ranks: those of each block by themselves, the others together."""
    settings = {"mesh": mesh}
    if half:  # autocast would keep a half copy of all weights for the backward pass
        settings["mp_policy"] = MixedPrecisionPolicy(torch.bfloat16, torch.float32, cast_forward_inputs=False)
    for block in blocks(module):
        fully_shard(block, **settings)
    # what has no backward pass lets go of its weights at once
    fully_shard(module, **settings, reshard_after_forward=None if trainable(module) else True)
    if hasattr(module, "drawn"):  # what a task is asked for beside its condition may ask a network, too
        register_fsdp_forward_method(module, "drawn")


def blocks(module: nn.Module) -> list[nn.Module]:
    """The repeated parts of a network: members of its outermost lists of modules."""
    if type(module) is nn.ModuleList:
        return list(module)
    return [block for child in module.children() for block in blocks(child)]


def _gathered(module: nn.Module) -> dict[str, Tensor]:
    """The whole state on the first rank, nothing on the others; each tensor with a storage of its own."""
    state, seen = get_model_state_dict(module, options=WHOLE), set()
    for name, value in state.items():
        state[name] = value.clone() if value.data_ptr() in seen else value.contiguous()
        seen.add(value.data_ptr())
    return state
