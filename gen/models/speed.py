"""Ways to run a denoiser faster or in less memory: each is one setting, and off where it is not asked for."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from gen.choices import Attention, Compile
from gen.errors import UserError
from gen.models.codec import LatentCodec
from gen.models.denoiser import Backbone, Denoiser

XFORMERS = "XFormersAttnProcessor"  # what diffusers calls the processors that use it
SMALLEST_TILE = 512  # pixels a side; smaller tiles show in the image


@dataclass(frozen=True)
class Execution:
    """How a model is run; the images stay the same to rounding."""

    attention: Attention = "sdpa"
    compile: Compile = "off"
    low_memory: bool = False

    def __str__(self) -> str:
        """What differs from the plain way, in words; empty where nothing does."""
        attention = [self.attention] * (self.attention != "sdpa")
        compiled = [f"compiled ({self.compile})"] * (self.compile != "off")
        return ", ".join(attention + compiled + ["low memory"] * self.low_memory)


def computes_bfloat16() -> bool:
    """Whether the processor has instructions for bfloat16."""
    able = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(able.get("avx512_bf16") or able.get("amx_bf16"))


def fastest_dtype(device: str, difference: bool = False) -> torch.dtype:
    """The fastest dtype whose images are right within a grey level of 8 bits, root mean square.

    A small `difference` of large numbers, as a bone layer is, keeps float32 on a CPU: bfloat16 has 8 bits of them.
    """
    if device.startswith("cuda"):
        return torch.float16
    return torch.bfloat16 if computes_bfloat16() and not difference else torch.float32


def use_xformers(module: nn.Module) -> None:
    """Memory-efficient attention (extra [xformers]) in every denoiser below a module, checked by the processors in use.

    Errors: UserError where the package, or a GPU, is not there.
    """
    if not torch.cuda.is_available():
        raise UserError("attention=xformers: runs on a GPU only, and there is none here; leave it at sdpa")
    if importlib.util.find_spec("xformers") is None:
        raise UserError("attention=xformers: needs pip install 'cxr-gen[xformers]'; or leave it at sdpa")
    for denoiser in _denoisers(module):
        try:
            denoiser.backbone.enable_xformers_memory_efficient_attention()
        except (ImportError, ValueError, NotImplementedError) as error:
            reason = str(error).splitlines()[0]
            raise UserError(f"attention=xformers: {reason}; leave it at sdpa, which is as fast on most GPUs") from None
        used = attention_in_use(denoiser.backbone)
        if used != {XFORMERS}:
            raise UserError(f"attention=xformers: the model runs {', '.join(sorted(used))}; leave it at sdpa")


def attention_in_use(backbone: Backbone) -> set[str]:
    """Class names of the attention processors that a backbone really runs."""
    return {type(processor).__name__ for processor in backbone.attn_processors.values()}


def compile_blocks(module: nn.Module) -> None:
    """Compile the repeated blocks of every denoiser below a module, where they stand; the first call pays for it."""
    for denoiser in _denoisers(module):
        denoiser.backbone.compile_repeated_blocks()


def compile_whole(backbone: Backbone, mode: Compile, backend: str = "inductor") -> None:
    """Compile a backbone where it stands, or take that back; "reduce-overhead" replays CUDA graphs."""
    if mode == "off":
        backbone._compiled_call_impl = None
    else:
        backbone.compile(mode=mode, backend=backend)


def save_memory(codec: LatentCodec) -> None:
    """Decode one image at a time, and large ones in tiles whose seams do not show, where its autoencoder can."""
    inner = codec.autoencoder
    if hasattr(inner, "use_slicing"):
        codec.enable_slicing()
    tile = getattr(inner, "tile_sample_min_height", getattr(inner, "tile_sample_min_size", 0))
    if hasattr(inner, "use_tiling") and tile >= SMALLEST_TILE:
        codec.enable_tiling()


class WarmUp:
    """Times the first two calls of a compiled denoiser: their difference is what compiling cost."""

    def __init__(self, say: Callable[[str], object]) -> None:
        self.say = say
        self.seconds: list[float] = []

    def watch(self, denoiser: Denoiser) -> None:
        """Time what is left to time of its calls."""
        if len(self.seconds) < 2:  # hooks stand around what is compiled, not in it
            denoiser.register_forward_pre_hook(self._begin)
            denoiser.register_forward_hook(self._end)

    def _begin(self, denoiser: nn.Module, inputs: object) -> None:
        self.began = time.perf_counter()

    def _end(self, denoiser: nn.Module, inputs: object, output: torch.Tensor) -> None:
        if len(self.seconds) == 2:
            return
        if output.is_cuda:
            torch.cuda.synchronize(output.device)
        self.seconds.append(time.perf_counter() - self.began)
        if len(self.seconds) == 2:
            first, second = self.seconds
            self.say(f"compiled in {first - second:.2f} s: the first call took {first:.2f} s, the next {second:.3f} s")


def _denoisers(module: nn.Module) -> list[Denoiser]:
    return [part for part in module.modules() if isinstance(part, Denoiser)]
