"""Editing inside a mask: the rest of the image is given, beside the prompt, and kept."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import torch
from torch import Tensor

from gen.data.linked import Needs
from gen.models.condition import Condition
from gen.tasks.text import TextTask


class InpaintTask(TextTask):
    """A prompt, the image's latents with a hole, and the hole; training cuts its own. The null has no words."""

    needs = Needs(links={"image": 1})
    control: ClassVar = {"prompts": ("prompt",), "surroundings": ("link_image",)}

    @staticmethod
    def spatial_channels(latent_channels: int) -> int:
        """The image with its hole, and the hole."""
        return latent_channels + 1

    def forward(self, batch: dict) -> Condition:
        """Shapes: B prompts, link_image [B, 1, c, h, w], in sampling edit_mask [B, 1, h, w] -> tokens [B, L, D]."""
        latents = batch["link_image"][:, 0]
        hole = batch["edit_mask"] if "edit_mask" in batch else holes(latents, at_random=self.training)
        hole = hole.to(latents.dtype)
        return replace(super().forward(batch), spatial=torch.cat([latents * (1 - hole), hole], dim=1))


def holes(latents: Tensor, at_random: bool) -> Tensor:
    """Ellipses, one an image: anywhere and of any size at random, else the middle quarter. Shapes: -> [B, 1, h, w]."""
    count, _, height, width = latents.shape
    draws = torch.rand(4, count, 1, 1, device=latents.device)
    if not at_random:
        draws = torch.full_like(draws, 0.5)
    y, x, tall, wide = draws[0], draws[1], 0.1 + 0.4 * draws[2], 0.1 + 0.4 * draws[3]
    rows = (torch.arange(height, device=latents.device) + 0.5)[:, None] / height
    columns = (torch.arange(width, device=latents.device) + 0.5) / width
    return (((rows - y) / tall) ** 2 + ((columns - x) / wide) ** 2 <= 1)[:, None]
