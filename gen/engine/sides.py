"""What images are contrasted with: the prompts that their rows say, or the events before them."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Protocol

import pandas as pd
import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from gen.data.events import read_cell
from gen.data.follow import with_priors
from gen.data.labelled import LabelledImages, load_labelled
from gen.data.prompts import prompt_from_row
from gen.errors import UserError
from gen.judges.alignment import BATCH
from gen.models.clip import RadiographCLIP, Told, tokens_of
from gen.schema import DataConfig

NO_EVENTS = "[]"


@dataclass(frozen=True)
class Pairs:
    """N rows that say something, and the images that they are about, each held once.

    `image` and `prior` are places in `images` [N]; without `prior` an image is seen by itself. `features` stand for
    the images where a network that stays has read them once.
    """

    images: LabelledImages
    records: list[dict]
    image: list[int]
    prior: list[int] | None = None
    features: Tensor | None = None

    def __len__(self) -> int:
        return len(self.records)

    def batch(self, rows: Sequence[int]) -> dict:
        """Images in [-1, 1] and their names, with the priors where they count. Shapes: [B, 1, S, S] or [B, F]."""
        places = {"image": self.image} if self.prior is None else {"image": self.image, "prior": self.prior}
        shown = {name: self._shown([of[row] for row in rows]) for name, of in places.items()}
        return {**shown, "key": [self.keys[row] for row in rows]}

    def _shown(self, places: list[int]) -> Tensor:
        return self.images.batch(places)["image"] if self.features is None else self.features[places]

    @torch.no_grad()
    def read_by(self, reader: nn.Module) -> Pairs:
        """The same with a network's features in place of the images."""
        parts = torch.arange(len(self.images)).split(BATCH)
        features = [reader.eval()(self.images.batch(part.tolist())["image"]).features for part in parts]
        return replace(self, features=torch.cat(features))

    @cached_property
    def keys(self) -> list[str]:
        """Names of the images, in the order of the rows."""
        return [self.images.keys[place] for place in self.image]

    def same_image(self) -> Tensor:
        """Which rows show the same. Shapes: -> [N, N]."""
        priors = self.image if self.prior is None else self.prior
        shown = torch.tensor([self.image, priors]).T
        return (shown[:, None] == shown[None]).all(-1)


class Side(Protocol):
    """The half of a pair that is no image."""

    name: str

    def said(self, record: dict, rng: random.Random | None = None) -> str:
        """What a row says, in its one canonical way where no generator draws another."""
        ...

    def batch(self, said: list[str]) -> Tensor | Told:
        """The same as `RadiographCLIP.texts` reads it."""
        ...

    def save(self, model: RadiographCLIP, folder: Path) -> None:
        """What stands beside the model in its folder."""
        ...


class PromptSide:
    """Prompts, said anew at every step."""

    name = "text"

    def __init__(self, tokenizer: PreTrainedTokenizerBase, length: int) -> None:
        self.tokenizer, self.length = tokenizer, length

    def said(self, record: dict, rng: random.Random | None = None) -> str:
        """The canonical prompt, or one that the generator draws."""
        return prompt_from_row(record) if rng is None else prompt_from_row(record, rng, use_report=0)

    def batch(self, said: list[str]) -> Tensor:
        """Token numbers. Shapes: -> [B, L]."""
        return tokens_of(self.tokenizer, said, self.length)

    def save(self, model: RadiographCLIP, folder: Path) -> None:
        """The tokenizer."""
        self.tokenizer.save_pretrained(folder / "tokenizer")


class EventSide:
    """Sets of events with the hours since the prior image."""

    name = "events"

    def said(self, record: dict, rng: random.Random | None = None) -> str:
        """Hours and cell; there is one way to say them."""
        return f"{record['gap_hours']}\t{record['events']}"

    def batch(self, said: list[str]) -> Told:
        """Sets of events, and hours or NaN [B]."""
        parts = [one.split("\t", 1) for one in said]
        gaps = torch.tensor([float(hours) if hours else math.nan for hours, _ in parts])
        return [read_cell(cell) for _, cell in parts], gaps

    def save(self, model: RadiographCLIP, folder: Path) -> None:
        """The encoder by itself, as the temporal task takes it up (task.events_from)."""
        model.clip.text.encoder.save_pretrained(folder / "events")


def prompt_pairs(rows: pd.DataFrame, data: DataConfig) -> Pairs:
    """Every image with its own row."""
    images = load_labelled(rows, (), (), data.resolution)
    return Pairs(images, rows.to_dict("records"), list(range(len(rows))))


def event_pairs(rows: pd.DataFrame, data: DataConfig, image: str) -> Pairs:
    """Every image with an earlier one and events before it; `image` says what is seen: target, prior or change.

    Pairs without events are left out: they would all say the same. Errors: UserError where none is left.
    """
    pairs = with_priors(rows, data)
    pairs = pairs[pairs["events"] != NO_EVENTS]
    if pairs.empty:
        split = ", ".join(sorted(set(rows["split"]))) if "split" in rows else "all"
        raise UserError(f"{data.index}: no pair of split {split} has events; give data.events=TABLE")
    used = rows[rows["image"].isin({*pairs["image"], *pairs["prior"]})].drop_duplicates("image")
    places = {address: place for place, address in enumerate(used["image"])}
    target, prior = ([places[address] for address in pairs[column]] for column in ("image", "prior"))
    seen = prior if image == "prior" else target
    images = load_labelled(used, (), (), data.resolution)
    return Pairs(images, pairs.to_dict("records"), seen, prior if image == "change" else None)
