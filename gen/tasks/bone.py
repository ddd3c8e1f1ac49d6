"""Bone suppression: one radiograph to its soft-tissue image, beside whose noisy latent the radiograph's stands clean.

BS-LDM and GL-LCM scale the radiograph's latent by sqrt(alpha_bar) in training and feed it unscaled when sampling; here
it is the same in both (`objective.scaled_condition` gives their way, for comparison). With `task.first` a plain
network's answer comes first, and what is drawn is what that answer misses.
"""

from __future__ import annotations

from typing import ClassVar

import pandas as pd
import torch
from torch import Tensor

from gen.data.linked import Needs
from gen.data.pairs import paired_rows
from gen.models.bone import TYPICAL, BoneConditioner, BoneRegressor
from gen.models.condition import Condition
from gen.models.loading import load_component
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
        """The token, of the text encoder's width, and where one is given the network of the first answer."""
        if config.first is None or config.residual is None:
            return BoneConditioner(width, config.residual)
        return BoneConditioner.refining(width, config.residual, load_component(BoneRegressor, config.first))

    def spatial_channels(self, latent_channels: int) -> int:
        """The radiograph's latent, and the first answer's bone layer."""
        return latent_channels if self.conditioner.regressor is None else 2 * latent_channels

    def drawn(self, z0: Tensor, batch: dict) -> Tensor:
        """The soft-tissue latents, or their difference from the radiograph's. Shapes: [B, C, h, w] -> the same."""
        return self.conditioner.drawn(z0, self._start(batch))

    def finished(self, z: Tensor, batch: dict) -> Tensor:
        """The soft-tissue latents from what was drawn. Shapes: [B, C, h, w] -> the same."""
        return self.conditioner.finished(z, self._start(batch))

    def forward(self, batch: dict) -> Condition:
        """Shapes: link_image [B, 1, C, h, w] -> tokens [B, 1, D], spatial [B, C, h, w]."""
        image = batch["link_image"][:, 0]
        tokens = self.conditioner.token.expand(len(image), -1, -1)
        mask = torch.ones(tokens.shape[:2], dtype=torch.bool, device=tokens.device)
        layer = self._layer(batch)
        spatial = image if layer is None else torch.cat([image, layer / TYPICAL], dim=1)
        return Condition(tokens, mask, tokens, mask, spatial=spatial)

    def _start(self, batch: dict) -> Tensor:
        """What the drawing is a difference from: the radiograph, or the first answer."""
        image, layer = batch["link_image"][:, 0], self._layer(batch)
        return image if layer is None else image - layer

    def _layer(self, batch: dict) -> Tensor | None:
        """The first answer, asked for once a batch of radiographs and kept beside it."""
        if self.conditioner.regressor is None:
            return None
        image, answer = batch.get("first_answer", (None, None))
        if image is not batch["link_image"]:
            answer = self.conditioner.layer(batch["link_image"][:, 0])
            batch["first_answer"] = (batch["link_image"], answer)
        return answer
