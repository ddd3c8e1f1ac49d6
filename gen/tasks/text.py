"""Text to radiograph: the prompt's token states, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import pandas as pd
from torch import Tensor, nn

from gen.data.linked import Needs
from gen.models.condition import Condition, FirstAnswer
from gen.models.text import TextEncoder
from gen.schema import DataConfig, TaskConfig


class TextTask(nn.Module):
    """Condition on a prompt; the null is the empty prompt. The other tasks are this one and more."""

    needs = Needs()
    control: ClassVar[dict[str, tuple[str, ...]]] = {"prompts": ("prompt",)}

    def __init__(self, text: TextEncoder, conditioner: nn.Module | None = None) -> None:
        super().__init__()
        self.text = text
        self.conditioner = conditioner

    @staticmethod
    def rows(rows: pd.DataFrame, config: DataConfig) -> pd.DataFrame:
        """Every row can be drawn."""
        return rows

    @staticmethod
    def settled(config: TaskConfig, columns: Mapping[str, Sequence]) -> TaskConfig:
        """No setting depends on the training rows."""
        return config

    @staticmethod
    def new_conditioner(config: TaskConfig, latent_shape: tuple[int, int, int], width: int) -> nn.Module | None:
        """Prompts need nothing but their encoder."""
        return None

    @staticmethod
    def spatial_channels(latent_channels: int) -> int:
        """Nothing is concatenated to the latent."""
        return 0

    def drawn(self, z0: Tensor, batch: dict) -> Tensor:
        """The image's latents themselves. Shapes: [B, C, h, w] -> the same."""
        return z0

    def finished(self, z: Tensor, batch: dict) -> Tensor:
        """What was drawn is the image. Shapes: [B, C, h, w] -> the same."""
        return z

    def first_answer(self, batch: dict) -> FirstAnswer | None:
        """Nothing is known before drawing."""
        return None

    def forward(self, batch: dict[str, list[str] | Tensor]) -> Condition:
        """Shapes: B prompts -> tokens [B, L, D]."""
        states, mask = self.text([*batch["prompt"], ""])
        tokens, mask, null, null_mask = states[:-1], mask[:-1], states[-1:], mask[-1:]
        return Condition(
            tokens=tokens,
            mask=mask,
            null_tokens=null.expand_as(tokens),
            null_mask=null_mask.expand_as(mask),
        )
