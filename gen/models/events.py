"""What was done and measured between two radiographs, as tokens: a set, in any order, irregular in time, any number."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn

from gen.models.changes import DrawsChange
from gen.models.condition import masked_mean

PERIODS = 10  # of the hours' sines: 4 h, 8 h, ... 2048 h
GRID = 4  # prior tokens a side


class Event(Protocol):
    """What is read of an event (gen.data.events.Event)."""

    @property
    def before(self) -> float: ...
    @property
    def code(self) -> str: ...
    @property
    def value(self) -> float: ...

    def words(self) -> str: ...


class EventsEncoder(DrawsChange, ModelMixin, ConfigMixin):
    """A transformer over the set of events, whose registers, with a token of the gap and of the prior, are its answer.

    An event is the sum of its code (or the words it is written in), its value and its two times, hours before the image
    to come and since the prior; nothing else orders the set. Registers are learned tokens among the events; the first
    also gets the plain sum over them, for doses add up and attention only averages.
    `vocabulary` maps a code to {"unit", "centre", "scale"}; place 0 of the codes is any other code. `residual` None
    draws the image to come; a number draws its difference from the prior, divided by it.
    """

    @register_to_config
    def __init__(
        self,
        vocabulary: dict[str, dict],
        token_width: int,
        latent_channels: int,
        described: str = "codes",
        prior: str = "spatial",
        residual: float | None = None,
        drop_events: float = 0.1,
        width: int = 96,
        layers: int = 2,
        heads: int = 4,
        registers: int = 4,
    ) -> None:
        super().__init__()
        if residual is True:
            raise ValueError("of an earlier version, which drew the image upon its prior; train it anew")
        self.places = {code: place for place, code in enumerate(vocabulary, 1)}
        self.code = nn.Embedding(len(vocabulary) + 1, width) if described == "codes" else None
        self.words = nn.Linear(token_width, width) if described == "text" else None
        self.value = nn.Linear(len(vocabulary) + 2, width)
        self.times = nn.Linear(2 * (2 * PERIODS + 2), width)
        self.mix = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.SiLU(), nn.Linear(2 * width, width)
        )
        self.summed = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))
        self.asked = nn.Parameter(torch.randn(registers, width) * width**-0.5)
        self.gap = nn.Linear(2 * PERIODS + 2, width)
        self.no_gap = nn.Parameter(torch.randn(width) * width**-0.5)
        layer = nn.TransformerEncoderLayer(width, heads, 4 * width, 0.0, "gelu", batch_first=True, norm_first=True)
        self.transformer = nn.TransformerEncoder(layer, layers, nn.LayerNorm(width), enable_nested_tensor=False)
        self.out = nn.Linear(width, token_width)
        if prior in ("tokens", "both"):
            self.seen = nn.Linear(latent_channels, token_width)
            self.place = nn.Parameter(torch.randn(GRID * GRID, token_width) * token_width**-0.5)

    def normalised(self, code: str, value: float) -> tuple[float, float]:
        """Signed logarithm of a robustly scaled value, and whether there is one; other codes' values have no scale."""
        known = self.config.vocabulary.get(code)
        if known is None or math.isnan(value):
            return 0.0, 0.0
        scaled = (value - known["centre"]) / known["scale"]
        return math.copysign(math.log1p(abs(scaled)), scaled), 1.0

    def read(
        self,
        sets: Sequence[Sequence[Event]],
        gap: Tensor,
        prior: Tensor,
        prior_mask: Tensor,
        text: Callable[[list[str]], tuple[Tensor, Tensor]] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """`forward` of sets of events, padded to the largest; `text` reads their words where the model is told so.

        Shapes: B sets, gap [B], prior [B, C, h, w], prior_mask [B] -> tokens [B, L, D], mask [B, L].
        """
        most = max(1, *map(len, sets))
        codes, before = torch.zeros(len(sets), most, dtype=torch.long), torch.zeros(len(sets), most)
        values, mask = torch.zeros(len(sets), most, 2), torch.zeros(len(sets), most, dtype=torch.bool)
        for row, events in enumerate(sets):
            for place, event in enumerate(events):
                codes[row, place], before[row, place] = self.places.get(event.code, 0), event.before
                values[row, place] = torch.tensor(self.normalised(event.code, event.value))
            mask[row, : len(events)] = True
        held = (tensor.to(prior.device) for tensor in (codes, values, before, mask))
        words = None if self.words is None else _read_words(sets, most, text)
        return self(*held, gap, prior, prior_mask, words)

    def forward(
        self,
        codes: Tensor,
        values: Tensor,
        before: Tensor,
        mask: Tensor,
        gap: Tensor,
        prior: Tensor,
        prior_mask: Tensor,
        words: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Shapes: codes, before [B, N], values [B, N, 2], mask [B, N], gap [B] hours or NaN, prior [B, C, h, w],
        prior_mask [B], words [B, N, D] -> tokens [B, L, D], mask [B, L]; L does not depend on N.
        """
        events = self._events(codes, values, before, gap, words)  # [B, N, W]
        rows, registers = len(events), len(self.asked)
        gaps = torch.where(gap.isnan()[:, None], self.no_gap, self.gap(fourier(gap.nan_to_num()).to(self.dtype)))
        own = torch.cat([self.asked.expand(rows, -1, -1), gaps[:, None]], dim=1)  # [B, R + 1, W]
        ignored = torch.cat([mask.new_zeros(rows, registers + 1), ~mask], dim=1)
        states = self.transformer(torch.cat([own, events], dim=1), src_key_padding_mask=ignored)[:, : registers + 1]
        total = (self.summed(events) * mask[..., None]).sum(1) / 4
        states = torch.cat([states[:, :1] + total[:, None], states[:, 1:]], dim=1)
        tokens, counts = self.out(states), mask.new_ones(rows, registers + 1)
        if self.config.prior == "spatial":
            return tokens, counts
        seen = nn.functional.adaptive_avg_pool2d(prior, GRID).flatten(2).mT  # [B, 16, C]
        tokens = torch.cat([tokens, self.seen(seen) + self.place], dim=1)
        return tokens, torch.cat([counts, prior_mask[:, None].expand(-1, GRID * GRID)], dim=1)

    def _events(self, codes: Tensor, values: Tensor, before: Tensor, gap: Tensor, words: Tensor | None) -> Tensor:
        since = (gap[:, None] - before).nan_to_num()
        times = torch.cat([fourier(before), fourier(since)], dim=-1).to(self.dtype)
        values = values.to(self.dtype)
        amount = values[..., :1] * nn.functional.one_hot(codes, self.value.in_features - 1)
        what = self.code(codes) if self.code is not None else self.words(words)
        state = what + self.value(torch.cat([values[..., 1:], amount], dim=-1)) + self.times(times)
        return state + self.mix(state)


def fourier(hours: Tensor) -> Tensor:
    """Sines of hours with periods of 4, 8, ... hours, their signed logarithm, their sign. Shapes: [...] -> [..., F]."""
    rates = 2 * math.pi / 4 * 0.5 ** torch.arange(PERIODS, device=hours.device, dtype=torch.float32)
    angles = hours.float()[..., None] * rates
    size = (hours.abs().log1p() * hours.sign() / 4)[..., None]
    return torch.cat([angles.sin(), angles.cos(), size, (hours >= 0).to(size)[..., None]], dim=-1)


def _read_words(sets: Sequence[Sequence[Event]], most: int, text: Callable) -> Tensor:
    """Events as a text encoder reads them, each wording once. Shapes: -> [B, most, D]."""
    places = {words: place for place, words in enumerate(sorted({e.words() for events in sets for e in events}), 1)}
    read = masked_mean(*text(["", *places]))
    rows = [[places[event.words()] for event in events] + [0] * (most - len(events)) for events in sets]
    return read[torch.tensor(rows, device=read.device)]
