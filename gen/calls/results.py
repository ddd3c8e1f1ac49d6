"""What a call hands out: latents as images, and the record of each."""

from __future__ import annotations

from functools import cache
from importlib.metadata import PackageNotFoundError, version

import numpy as np
from PIL import Image
from torch import Tensor

from gen.calls.painting import Pipe
from gen.data.compose import attributes
from gen.data.images import from_model
from gen.models.codec import LatentCodec
from gen.provenance import SynthesisRecord


def decoded(codec: LatentCodec, z: Tensor, output_type: str) -> list[Image.Image] | np.ndarray | Tensor:
    """Latents as "pil" (8-bit grey), "np" ([N, H, W] in 0..1) or themselves."""
    if output_type == "latent":
        return z
    images = codec.decode(z.to(codec.dtype)).float().clamp(-1, 1).cpu()[:, 0].numpy()
    if output_type == "np":
        return images / 2 + 0.5
    return [Image.fromarray(from_model(image)) for image in images]


def record_of(pipe: Pipe, prompt: str, seed: int, steps: int, guidance: float) -> SynthesisRecord:
    """How one image came about."""
    return SynthesisRecord(
        prompt=prompt,
        seed=seed,
        steps=steps,
        guidance=guidance,
        scheduler=type(pipe.scheduler).__name__,
        model=pipe.config.name,
        model_hash=pipe.model_hash,
        task=pipe.config.task,
        version=_version(),
        **attributes(prompt),
    )


@cache
def _version() -> str:
    try:
        return version("cxr-gen")
    except PackageNotFoundError:
        return "source"
