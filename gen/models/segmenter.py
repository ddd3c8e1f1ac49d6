"""A small U-Net for lungs and heart (Ronneberger et al., arXiv 1505.04597)."""

from __future__ import annotations

import torch
from diffusers import ModelMixin
from diffusers.configuration_utils import ConfigMixin, register_to_config
from torch import Tensor, nn
from torch.nn import functional as F


class ChestSegmenter(ModelMixin, ConfigMixin):
    """Where the lungs (with what the heart hides of them, down to the domes) and the heart are.

    `patch` folds p x p pixels into channels before the first layer, so that no convolution runs at full resolution.
    """

    @register_to_config
    def __init__(
        self,
        structures: tuple[str, ...] = ("lungs", "heart"),
        widths: tuple[int, ...] = (24, 48, 96, 96),
        resolution: int = 256,
        patch: int = 4,
    ) -> None:
        super().__init__()
        self.stem = nn.Conv2d(patch * patch, widths[0], 3, 1, 1)
        self.down = nn.ModuleList(Pair(a, b) for a, b in zip((widths[0], *widths), widths, strict=False))
        wide = list(zip(widths[1:], widths, strict=False))
        self.up = nn.ModuleList(Pair(below + beside, beside) for below, beside in reversed(wide))
        self.out = nn.Conv2d(widths[0], len(structures) * patch * patch, 3, 1, 1)

    def forward(self, image: Tensor) -> Tensor:
        """Logits of every structure. Shapes: [B, 1, R, R] in [-1, 1] -> [B, S, R, R]."""
        std, mean = torch.std_mean(image, dim=(1, 2, 3), keepdim=True)
        x = F.pixel_unshuffle((image - mean) / std.clamp_min(0.02), self.config.patch)
        x = self.stem(x)  # [B, C0, R/p, R/p]
        passed: list[Tensor] = []
        for level, block in enumerate(self.down):
            x = block(F.max_pool2d(x, 2) if level else x)
            passed.append(x)
        for block, beside in zip(self.up, reversed(passed[:-1]), strict=True):
            larger = F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
            x = block(torch.cat([larger, beside], dim=1))
        return F.pixel_shuffle(self.out(x), self.config.patch).float()

    @property
    def structures(self) -> tuple[str, ...]:
        """What is segmented, a channel each."""
        return tuple(self.config.structures)

    def probabilities(self, image: Tensor) -> Tensor:
        """Probability of every structure, at the image's own size. Shapes: [B, 1, H, W] in [-1, 1] -> [B, S, H, W]."""
        side = self.config.resolution
        small = F.interpolate(image.float(), (side, side), mode="bilinear", antialias=True)
        logits = self(small if image.shape[-2:] != (side, side) else image)
        return F.interpolate(logits, image.shape[-2:], mode="bilinear", antialias=True).sigmoid()


class Pair(nn.Sequential):
    """Two 3x3 convolutions."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__(
            nn.Conv2d(before, after, 3, 1, 1, bias=False),
            nn.BatchNorm2d(after),
            nn.ReLU(),
            nn.Conv2d(after, after, 3, 1, 1, bias=False),
            nn.BatchNorm2d(after),
            nn.ReLU(),
        )
