"""The next radiograph from a prior one, the hours between them and the events of these hours."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import ClassVar

import pandas as pd
import torch
from torch import Tensor

from gen.data.events import read_cell, vocabulary
from gen.data.follow import with_priors
from gen.data.linked import Needs
from gen.models.condition import Condition
from gen.models.events import EventsEncoder
from gen.models.pretrained_events import pretrained_vocabulary, start_encoder
from gen.schema import DataConfig
from gen.schema.tasks import TemporalTaskConfig
from gen.tasks.text import TextTask


class TemporalTask(TextTask):
    """Text states and the encoder's tokens, the prior beside the noise.

    Two nulls: of everything, which training and `batch["null"] = "all"` use, and of the events alone, prior and gap
    kept, which drawing uses otherwise; guidance then strengthens what the events do. Training and `batch["parts"] =
    "some"` leave events out at random.
    """

    needs = Needs(columns=("events", "gap_hours"), links={"prior": 1})
    control: ClassVar = {"events": ("events",), "priors": ("link_prior", "link_prior_mask")}
    conditioner: EventsEncoder

    @staticmethod
    def rows(rows: pd.DataFrame, config: DataConfig) -> pd.DataFrame:
        """Every image that has an earlier one, once for each."""
        return with_priors(rows, config)

    @staticmethod
    def settled(config: TemporalTaskConfig, columns: Mapping[str, Sequence]) -> TemporalTaskConfig:
        """With the vocabulary of the training rows' events, or of the trained encoder that is to be the start."""
        known, folder = config.vocabulary, config.events_from
        if known is None or folder is not None:
            found = vocabulary(list(columns["events"]), config.codes)
            known = found if folder is None else pretrained_vocabulary(folder, known, found)
        return config.model_copy(update={"vocabulary": known})

    @staticmethod
    def new_conditioner(config: TemporalTaskConfig, latent_shape: tuple[int, int, int], width: int) -> EventsEncoder:
        """An encoder of the settled config's events, started as it says."""
        sizes = (config.width, config.layers, config.heads, config.registers)
        said = (config.events, config.prior, config.residual, config.drop_events)
        encoder = EventsEncoder(config.vocabulary or {}, width, latent_shape[0], *said, *sizes)
        if config.events_from is not None:
            start_encoder(encoder, config.events_from)
        return encoder

    def spatial_channels(self, latent_channels: int) -> int:
        """The prior's latent, unless it comes as tokens only."""
        return 0 if self.conditioner.config.prior == "tokens" else latent_channels

    def drawn(self, z0: Tensor, batch: dict) -> Tensor:
        """The latents of the image to come, or their difference from the prior's. Shapes: [B, C, h, w] -> the same."""
        return self.conditioner.drawn(z0, batch["link_prior"][:, 0])

    def finished(self, z: Tensor, batch: dict) -> Tensor:
        """The latents of the image to come from what was drawn. Shapes: [B, C, h, w] -> the same."""
        return self.conditioner.finished(z, batch["link_prior"][:, 0])

    def forward(self, batch: dict) -> Condition:
        """Shapes: B prompts, cells of events, hours; link_prior [B, 1, c, h, w] -> tokens [B, L, D]."""
        text, config = super().forward(batch), self.conditioner.config
        prior, there = batch["link_prior"][:, 0], batch["link_prior_mask"][:, 0]
        gap = torch.tensor([_hours(value) for value in batch["gap_hours"]], device=prior.device)
        cells = [read_cell(cell) for cell in batch["events"]]
        if self.conditioner.training or batch.get("parts") == "some":
            cells = [[] if torch.rand(()) < config.drop_events else cell for cell in cells]
        whole = batch.get("null") == "all" or self.conditioner.training
        tokens, mask = self.conditioner.read(cells, gap, prior, there, self.text)
        nothing = (torch.full_like(gap, math.nan), torch.zeros_like(prior), torch.zeros_like(there))
        known = nothing if whole else (gap, prior, there)
        null, null_mask = self.conditioner.read([[] for _ in cells], *known, self.text)
        beside = prior if config.prior != "tokens" else None
        return replace(
            text,
            tokens=torch.cat([text.tokens, tokens], dim=1),
            mask=torch.cat([text.mask, mask], dim=1),
            null_tokens=torch.cat([text.null_tokens if whole else text.tokens, null], dim=1),
            null_mask=torch.cat([text.null_mask if whole else text.mask, null_mask], dim=1),
            spatial=beside,
            null_spatial=None if beside is None else nothing[1] if whole else beside,
            summarised=torch.cat([torch.zeros_like(text.mask), torch.ones_like(mask)], dim=1),
        )


def _hours(value: float | str) -> float:
    return math.nan if value in ("", None) else float(value)
