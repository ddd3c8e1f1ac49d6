"""What bone suppression trains besides its denoiser, and the plain network that it has to beat."""

from __future__ import annotations

import torch
from diffusers import ModelMixin
from diffusers.configuration_utils import ConfigMixin, register_to_config
from torch import Tensor, nn

from gen.models.segmenter import ChestSegmenter


class BoneConditioner(ModelMixin, ConfigMixin):
    """One learned token that stands for the task, and the unit of what is drawn.

    `residual` None draws the soft-tissue image's latents; a number draws their difference from the radiograph's,
    divided by it, so that nothing drawn is nothing changed.
    """

    @register_to_config
    def __init__(self, width: int = 32, residual: float | None = None) -> None:
        super().__init__()
        self.token = nn.Parameter(0.02 * torch.randn(1, 1, width))

    def drawn(self, soft: Tensor, image: Tensor) -> Tensor:
        """What the denoiser draws, from latents of the pair. Shapes: [B, C, h, w] twice -> the same."""
        return soft if self.config.residual is None else (soft - image) / self.config.residual

    def finished(self, z: Tensor, image: Tensor) -> Tensor:
        """The soft-tissue image's latents from what was drawn: the inverse of `drawn`. Shapes: [B, C, h, w]."""
        return z if self.config.residual is None else image + self.config.residual * z


class BoneRegressor(ChestSegmenter):
    """The baseline: a plain U-Net that gives the bone layer of a radiograph, image - soft, in one call."""

    @register_to_config
    def __init__(
        self,
        structures: tuple[str, ...] = ("bone",),
        widths: tuple[int, ...] = (24, 48, 96, 96),
        resolution: int = 256,
        patch: int = 4,
    ) -> None:
        super().__init__(structures, widths, resolution, patch)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def bone(self, image: Tensor) -> Tensor:
        """The bone layer at the network's own size. Shapes: [B, 1, R, R] in [-1, 1] -> the same, in its units."""
        return self(image)
