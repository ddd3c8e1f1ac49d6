"""A radiograph in a given view, from its prompt and from any of the other views of its study."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import pandas as pd
import torch

from gen.data.linked import SEPARATOR, Needs
from gen.data.siblings import with_siblings
from gen.models.condition import Condition, FirstAnswer
from gen.models.first_view import FirstView
from gen.models.loading import load_component
from gen.models.study import read_study
from gen.models.views import ViewEncoder
from gen.schema import DataConfig
from gen.schema.tasks import ViewTaskConfig
from gen.tasks.text import TextTask

MOST = 3
CONTEXT = ("link_context", "link_context_mask", "context_view", "context_angle")


class ViewTask(TextTask):
    """Text states, the view's token, tokens of context images; those also come as feature maps. The null has none.

    Training and `batch["parts"] = "some"` leave parts out at random.
    """

    needs = Needs(columns=("angle", *CONTEXT[2:]), links={"context": MOST})
    control: ClassVar = {"prompts": ("prompt",), "contexts": CONTEXT}

    @staticmethod
    def rows(rows: pd.DataFrame, config: DataConfig | None = None) -> pd.DataFrame:
        """Every row, with the other images of its study as context."""
        unknown = {"view": "UNKNOWN", "angle": float("nan")}
        rows = rows.assign(**{name: value for name, value in unknown.items() if name not in rows})
        return with_siblings(rows, "context", MOST, carried=("view", "angle"))

    @staticmethod
    def new_conditioner(config: ViewTaskConfig, latent_shape: tuple[int, int, int], width: int) -> ViewEncoder:
        """Embeddings of views and of context images, and where one is given the network of the first answer."""
        settings = {"latent_channels": latent_shape[0], "width": width, "grid": min(config.grid, latent_shape[1])}
        settings |= {"hidden": config.hidden, "part_drop": config.part_drop}
        encoder = ViewEncoder(**settings)
        if config.first is None:
            return encoder
        first = load_component(FirstView, config.first)
        first.check_side(latent_shape[1], f"task.first={config.first}")
        return encoder.beginning_with(first, shown=True)

    def spatial_channels(self, latent_channels: int) -> int:
        """Frontal and lateral context and, if shown, the first answer, each with a map of where there is one."""
        return (3 if self.conditioner.config.shown else 2) * (latent_channels + 1)

    def first_answer(self, batch: dict) -> FirstAnswer | None:
        """The mean view, where there is context and a network that knows it."""
        study, first = read_study(batch, SEPARATOR), self.conditioner.first_view
        if first is None or not study.mask.any():
            return None
        own, nobody = first(study), first.of_nobody(study)
        return FirstAnswer(own, null=nobody, known=study.mask.any(1))

    def forward(self, batch: dict) -> Condition:
        """Shapes: B prompts, views, angles; link_context [B, M, c, h, w] -> tokens [B, L + 1 + M g g, D]."""
        text, study = super().forward(batch), read_study(batch, SEPARATOR)
        if self.conditioner.training or batch.get("parts") == "some":
            text, study = (part.drop(self.conditioner.config.part_drop) for part in (text, study))
        tokens, mask = self.conditioner(study)
        null, null_mask = self.conditioner(study.drop(1.0))
        maps, words = self.conditioner.maps(study), torch.ones_like(text.mask)
        own = torch.arange(mask.shape[1], device=mask.device) == 0
        return replace(
            text,
            tokens=torch.cat([text.tokens, tokens], dim=1),
            mask=torch.cat([text.mask, mask], dim=1),
            null_tokens=torch.cat([text.null_tokens, null], dim=1),
            null_mask=torch.cat([text.null_mask, null_mask], dim=1),
            spatial=maps,
            null_spatial=torch.zeros_like(maps),
            summarised=torch.cat([words, own.expand_as(mask)], dim=1),
        )
