"""Bone suppression: one radiograph to its soft-tissue image, beside whose noisy latent the radiograph's stands clean.

BS-LDM and GL-LCM scale the radiograph's latent by sqrt(alpha_bar) in training and feed it unscaled when sampling; here
it is the same in both (`objective.scaled_condition` gives their way, for comparison).
"""

from __future__ import annotations

from typing import ClassVar

import pandas as pd
import torch
from torch import Tensor

from gen.data.linked import Needs
from gen.data.pairs import paired_rows
from gen.models.bone import BoneConditioner
from gen.models.condition import Condition
from gen.schema import DataConfig
from gen.schema.tasks import BoneTaskConfig
from gen.tasks.text import TextTask


class BoneTask(TextTask):
    """Condition on a radiograph's latent; prompts are not read, and there is nothing to guide by."""

    needs = Needs(links={"image": 1}, target="soft")
    control: ClassVar[dict[str, tuple[str, ...]]] = {"images": ("link_image",)}

    @staticmethod
    def rows(rows: pd.DataFrame, config: DataConfig) -> pd.DataFrame:
        """Frontal rows with a soft-tissue image."""
        return paired_rows(rows)

    @staticmethod
    def new_conditioner(config: BoneTaskConfig, latent_shape: tuple[int, int, int], width: int) -> BoneConditioner:
        """The token, of the text encoder's width."""
        return BoneConditioner(width, config.residual)

    @staticmethod
    def spatial_channels(latent_channels: int) -> int:
        """The radiograph's latent."""
        return latent_channels

    def drawn(self, z0: Tensor, batch: dict) -> Tensor:
        """The soft-tissue latents, or their difference from the radiograph's. Shapes: [B, C, h, w] -> the same."""
        return self.conditioner.drawn(z0, batch["link_image"][:, 0])

    def finished(self, z: Tensor, batch: dict) -> Tensor:
        """The soft-tissue latents from what was drawn. Shapes: [B, C, h, w] -> the same."""
        return self.conditioner.finished(z, batch["link_image"][:, 0])

    def forward(self, batch: dict) -> Condition:
        """Shapes: link_image [B, 1, C, h, w] -> tokens [B, 1, D], spatial [B, C, h, w]."""
        image = batch["link_image"][:, 0]
        tokens = self.conditioner.token.expand(len(image), -1, -1)
        mask = torch.ones(tokens.shape[:2], dtype=torch.bool, device=tokens.device)
        return Condition(tokens, mask, tokens, mask, spatial=image)
