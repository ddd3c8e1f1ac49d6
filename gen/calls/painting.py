"""What the calls ask of a pipeline, which stands above them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from diffusers import SchedulerMixin
from PIL import Image
from torch import Tensor, nn

from gen.models.codec import LatentCodec
from gen.models.denoiser import Backbone

Picture = str | Path | Image.Image | np.ndarray


class Pipe(Protocol):
    """The part of CXRPipeline that calls use."""

    vae: LatentCodec
    unet: Backbone
    scheduler: SchedulerMixin
    model_hash: str

    @property
    def config(self) -> Any:
        """Settings of the pipeline: task, resolution, name."""
        ...

    @property
    def task(self) -> nn.Module:
        """The task over the present modules."""
        ...

    @property
    def _execution_device(self) -> torch.device: ...

    def draw(
        self,
        batch: dict,
        seed: int | Sequence[int] = 0,
        steps: int | None = None,
        guidance: float | None = None,
        output_type: str = "pil",
        *,
        progress: bool = True,
    ) -> Any:
        """One image a row of the task's batch."""
        ...

    def encode(self, images: Sequence[Picture]) -> Tensor:
        """Whitened latents of radiographs."""
        ...
