"""What the views of one study share, as one vector: whose chest it is, however it was turned, exposed and framed.

The views of a study are positives of each other and other patients' views are negatives, so that the code keeps what
they have in common and drops the rest (contrastive multiview coding, Tian et al., arXiv 1906.05849).
"""

from __future__ import annotations

from itertools import pairwise

import torch
from diffusers import ModelMixin
from diffusers.configuration_utils import ConfigMixin, register_to_config
from torch import Tensor, nn
from torch.nn import functional as F

HARMONICS = 4
GRID = 4  # side of the last map, whose places have weights of their own


class StudyCoder(ModelMixin, ConfigMixin):
    """Latents of an image and the angle from which it was taken to a vector of length 1.

    `resolution` is the side in pixels of the images whose latents it knows.
    """

    @register_to_config
    def __init__(
        self,
        latent_channels: int,
        width: int = 32,
        features: int = 64,
        dropout: float = 0.2,
        resolution: int = 256,
    ) -> None:
        super().__init__()
        widths = (latent_channels, width, 2 * width, 3 * width)
        self.turned = nn.Sequential(nn.Linear(2 * HARMONICS, width), nn.SiLU())
        self.halved = nn.ModuleList(nn.Conv2d(*pair, 3, stride=2, padding=1) for pair in pairwise(widths))
        self.blocks = nn.ModuleList(TurnedBlock(channels, width) for channels in widths[1:])
        self.narrowed = nn.Sequential(nn.AdaptiveAvgPool2d(GRID), nn.Conv2d(widths[-1], width, 1), nn.SiLU())
        self.code = nn.Sequential(nn.Flatten(), nn.Dropout(dropout), nn.Linear(width * GRID**2, features))

    def forward(self, latents: Tensor, angles: Tensor) -> Tensor:
        """Shapes: latents [N, c, h, w], angles [N] in degrees, NaN unknown -> [N, D] of length 1."""
        x, turned = latents.to(self.dtype), self.turned(waves(angles).to(self.dtype))
        for halved, block in zip(self.halved, self.blocks, strict=True):
            x = block(halved(x), turned)
        return F.normalize(self.code(self.narrowed(x)).float(), dim=-1)

    def of_study(self, latents: Tensor, mask: Tensor, angles: Tensor) -> Tensor:
        """One code for the images that the mask says are there, the direction of their mean; zero where none is.

        Shapes: latents [B, M, c, h, w], mask [B, M], angles [B, M] -> [B, D].
        """
        codes = latents.new_zeros((*mask.shape, self.config.features), dtype=torch.float32)
        codes[mask] = self(latents[mask], angles[mask]).float()
        return F.normalize(codes.sum(1), dim=-1)  # in half precision zero by its norm would be no number


class TurnedBlock(nn.Module):
    """A residual block whose middle is scaled and shifted by the angle."""

    def __init__(self, channels: int, turned: int) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.GroupNorm(8, channels), nn.SiLU(), nn.Conv2d(channels, channels, 3, padding=1))
        self.norm = nn.GroupNorm(8, channels)
        self.change = nn.Linear(turned, 2 * channels)
        self.last = nn.Sequential(nn.SiLU(), nn.Conv2d(channels, channels, 3, padding=1))
        for layer in (self.change, self.last[1]):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor, turned: Tensor) -> Tensor:
        """Shapes: x [N, C, h, w], turned [N, T] -> [N, C, h, w]."""
        scale, shift = self.change(turned)[..., None, None].chunk(2, dim=1)
        return x + self.last(self.norm(self.first(x)) * (1 + scale) + shift)


def waves(angles: Tensor) -> Tensor:
    """First harmonics of angles in degrees, so that 0 and 360 are one; zeros for NaN. Shapes: [...] -> [..., 2 H]."""
    turns = torch.deg2rad(angles.nan_to_num())[..., None] * torch.arange(1, HARMONICS + 1, device=angles.device)
    return torch.cat([turns.sin(), turns.cos()], dim=-1) * ~angles.isnan()[..., None]
