"""This process among those that train together."""

from __future__ import annotations

import torch
from accelerate import PartialState
from accelerate.utils import parse_flag_from_env

from gen.models.speed import computes_bfloat16


def on_cpu() -> bool:
    """Whether to run on the CPU: asked for, or nothing else is here.

    accelerate has to be told: its PartialState does not read ACCELERATE_USE_CPU, and without a word each of several CPU
    processes would believe that it is alone.
    """
    return parse_flag_from_env("ACCELERATE_USE_CPU") or not torch.accelerator.is_available()


def processes() -> PartialState:
    """Rank, number of ranks and ways to wait for one another."""
    return PartialState(cpu=on_cpu())


def precision(wanted: str, cpu: bool) -> str:
    """The autocast type for accelerate; "auto" is half precision where the machine has instructions for it."""
    if wanted != "auto":
        return wanted
    if torch.cuda.is_available() and not cpu:
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    return "bf16" if computes_bfloat16() else "no"
