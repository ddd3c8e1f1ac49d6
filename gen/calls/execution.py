"""Setting how a pipeline is run, one field each."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, Self

import torch
from diffusers import DiffusionPipeline

from gen.choices import Attention, Compile
from gen.errors import UserError
from gen.models.denoiser import Denoiser
from gen.models.speed import Execution, WarmUp, compile_whole, save_memory, use_xformers


class ExecutionCalls:
    """What a pipeline is told of its execution."""

    model_cpu_offload_seq = "text_encoder->unet"
    _exclude_from_cpu_offload: ClassVar = ["vae", "conditioner"]  # small, and called by other names than forward
    execution = Execution()
    _warm_up: WarmUp | None = None

    def set_execution(
        self,
        attention: Attention = "sdpa",
        compile: Compile = "off",
        low_memory: bool = False,
        backend: str = "inductor",
        say: Callable[[str], object] = print,
    ) -> Self:
        """Run faster or in less memory, after `.to(device)`; see `execute`. `say` is told what compiling cost."""
        execution = Execution(attention, compile, low_memory)
        self._warm_up = execute(self, execution, backend, say)
        self.execution = execution
        return self

    def _watched(self, denoiser: Denoiser) -> Denoiser:
        """The denoiser, timed where it was compiled and has not been called twice yet."""
        if self._warm_up is not None:
            self._warm_up.watch(denoiser)
        return denoiser


def execute(
    pipe: DiffusionPipeline, execution: Execution, backend: str = "inductor", say: Callable[[str], object] = print
) -> WarmUp | None:
    """Let a pipeline run in a given way; returns what times the first calls where it is compiled.

    Low memory: images are decoded one by one, and on a GPU the text encoder and the denoiser are there only while they
    work. Errors: UserError for what the machine, or the combination, does not allow.
    """
    if execution.low_memory and execution.compile != "off":
        raise UserError("compile with low_memory: modules that come and go cannot be compiled; choose one")
    if execution.attention == "xformers":
        use_xformers(Denoiser(pipe.unet))
    else:
        pipe.unet.disable_xformers_memory_efficient_attention()
    compile_whole(pipe.unet, execution.compile, backend)
    if execution.low_memory:
        save_memory(pipe.vae)
        if pipe.device.type != "cpu":
            pipe.enable_model_cpu_offload(device=pipe.device)
    return None if execution.compile == "off" else WarmUp(say)


def place(pipe: DiffusionPipeline, device: torch.device, low_memory: bool) -> None:
    """Move a pipeline to a device, or, to save memory there, only what works at the time."""
    if low_memory and device.type != "cpu":
        pipe.enable_model_cpu_offload(device=device)
    else:
        pipe.to(device)
