"""Ways to run a denoiser faster that some machines have: each is one setting, and off where it is not asked for."""

from __future__ import annotations

from torch import nn

from gen.errors import UserError
from gen.models.denoiser import Denoiser

XFORMERS = "XFormersAttnProcessor"  # what diffusers calls the processors that use it


def use_xformers(module: nn.Module) -> None:
    """Memory-efficient attention (extra [xformers]) in every denoiser below a module, checked by the processors in use.

    Errors: UserError where the package, or a GPU, is not there.
    """
    for denoiser in _denoisers(module):
        try:
            denoiser.backbone.enable_xformers_memory_efficient_attention()
        except (ImportError, ValueError, NotImplementedError) as error:
            reason = str(error).splitlines()[0]
            raise UserError(f"attention=xformers: {reason}; leave it at sdpa, which is as fast on most GPUs") from None
        used = {type(processor).__name__ for processor in denoiser.backbone.attn_processors.values()}
        if used != {XFORMERS}:
            raise UserError(f"attention=xformers: the model runs {', '.join(sorted(used))}; leave it at sdpa")


def compile_blocks(module: nn.Module) -> None:
    """Compile the repeated blocks of every denoiser below a module, where they stand; the first call pays for it."""
    for denoiser in _denoisers(module):
        denoiser.backbone.compile_repeated_blocks()


def _denoisers(module: nn.Module) -> list[Denoiser]:
    return [part for part in module.modules() if isinstance(part, Denoiser)]
