"""`pipe.predict`, `pipe.counterfactual`, `pipe.rollout`: how a radiograph may look some hours and events later."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

import numpy as np
import torch
from diffusers.utils import BaseOutput
from PIL import Image
from torch import Tensor

from gen.calls.painting import Picture, Pipe
from gen.data.events import Event, check_events, read_cell, write_cell
from gen.data.images import from_model
from gen.data.prompts import prompt_from_row
from gen.errors import UserError
from gen.provenance import SynthesisRecord

Null = Literal["events", "all"]
Given = Mapping | Sequence  # an event as {"hour", "code", "value", "unit"} or (hour, code, value, unit)


class Drawing(Pipe, Protocol):
    """A pipeline that draws."""

    def draw(
        self, batch: dict, seed: int, steps: int | None, guidance: float | None, output_type: str, progress: bool
    ) -> Any:
        """Images and records of a batch."""
        ...


@dataclass
class Prediction(BaseOutput):
    """Several futures of one prior. Shapes: mean, deviation [H, W] brightness of 0..1, over the images."""

    images: list[Image.Image]
    records: list[SynthesisRecord]
    mean: np.ndarray
    deviation: np.ndarray


@dataclass
class Counterfactual(BaseOutput):
    """What was, what would have been, and the mean difference. Shapes: difference [H, W], of the other less the one."""

    one: Prediction
    other: Prediction
    difference: np.ndarray


class TemporalCalls:
    """The calls of a temporal model, as methods of the pipeline."""

    @torch.no_grad()
    def predict(
        self: Drawing,
        prior: Picture | Tensor,
        events: Sequence[Given] = (),
        hours: float = 24.0,
        n: int = 4,
        prompt: str = "",
        seed: int = 0,
        steps: int | None = None,
        guidance: float = 1.0,
        null: Null = "events",
        progress: bool = True,
    ) -> Prediction:
        """Draw `n` futures of a prior, `hours` later, given the events in between.

        An event's hour counts from the prior, negative before it. `prompt` says what is known besides: view, sex, age,
        or how the patient fared. `guidance` over 1 strengthens the events (`null` "events") or events, prior and prompt
        together ("all", for models trained with task.drop). `prior` may be latents [1, C, h, w].
        Errors: UserError for a model of another task, hours not above 0, an event after them, an unknown unit.
        """
        cell = events_cell(self, events, hours)
        latents = prior if isinstance(prior, Tensor) else self.encode([prior])
        batch = _batch(latents.expand(n, -1, -1, -1), [prompt] * n, [cell] * n, [float(hours)] * n, null)
        out = self.draw(batch, seed, steps, guidance, "np", progress=progress)
        return _prediction(out.images, out.records, _said(latents, cell, hours))

    @torch.no_grad()
    def counterfactual(
        self: Any,
        prior: Picture,
        events: Sequence[Given],
        instead: Sequence[Given],
        hours: float = 24.0,
        **settings: Any,
    ) -> Counterfactual:
        """The same prior and seeds with `events` and with other ones `instead`; settings as of `predict`."""
        latents = self.encode([prior])
        one, other = (self.predict(latents, given, hours, **settings) for given in (events, instead))
        return Counterfactual(one, other, other.mean - one.mean)

    @torch.no_grad()
    def rollout(
        self: Any,
        prior: Picture,
        events: Sequence[Given],
        visits: Sequence[float],
        n: int = 4,
        prompt: str = "",
        seed: int = 0,
        steps: int | None = None,
        guidance: float = 1.0,
        history: float = 0.0,
        progress: bool = True,
    ) -> list[Prediction]:
        """`n` trajectories over visits, hours from the prior in rising order, each image the prior of the next.

        Every step is told the events since its own prior, and those up to `history` hours before, as the model was
        trained (data.follow.history). A cold start is a rollout from an image that a text model drew.
        """
        if list(visits) != sorted(set(visits)) or not visits:
            raise UserError(f"visits {list(visits)}: hours from the prior in rising order, each once")
        latents, before, found = self.encode([prior]).expand(n, -1, -1, -1), 0.0, []
        rows = [_row(event) for event in events]
        for number, visit in enumerate(visits):
            known = [(hour - before, *rest) for hour, *rest in rows if before - history <= hour <= visit]
            cell = events_cell(self, known, visit - before)
            batch = _batch(latents, [prompt] * n, [cell] * n, [visit - before] * n, "events")
            drawn = self.draw(batch, seed + number * n, steps, guidance, "np", progress=progress)
            found.append(_prediction(drawn.images, drawn.records, _said(latents, cell, visit - before)))
            latents, before = self.encode(list(drawn.images)), visit
        return found


def pair_batch(pipe: Pipe, pairs: Sequence[Mapping], cells: Sequence[str]) -> dict:
    """The batch of rows of gen.data.follow, with the events of `cells`; a prior of several rows is encoded once.

    Errors: UserError for a model of another task, and for events that it cannot read.
    """
    if pipe.config.task != "temporal":
        raise UserError(f"{pipe.config.name} is of task {pipe.config.task}; load a model of task temporal")
    known = pipe.task.conditioner.config.vocabulary
    for pair, cell in zip(pairs, cells, strict=True):
        check_events(read_cell(cell), pair["gap_hours"], known)
    files = list(dict.fromkeys(pair["prior"] for pair in pairs))
    latents = pipe.encode(files)
    priors = latents[[files.index(pair["prior"]) for pair in pairs]]
    prompts = [prompt_from_row(pair) for pair in pairs]
    return _batch(priors, prompts, list(cells), [float(pair["gap_hours"]) for pair in pairs], "events")


def events_cell(pipe: Pipe, events: Sequence[Given], hours: float) -> str:
    """Events, timed from the prior, as the cell that the task reads; checked against the model's vocabulary."""
    if pipe.config.task != "temporal":
        raise UserError(f"{pipe.config.name} is of task {pipe.config.task}; load a model of task temporal")
    if not 0 < hours < math.inf:
        raise UserError(f"hours={hours:g}: the image to be predicted must be later than the prior, by hours above 0")
    known = [
        Event(round(hours - hour, 3), code, value, unit)
        for hour, code, value, unit in sorted(map(_row, events), key=lambda row: row[0])
    ]
    check_events(known, hours, pipe.task.conditioner.config.vocabulary)
    return write_cell(known)


def _row(event: Given) -> tuple[float, str, float, str]:
    """Hour, code, value (NaN none) and unit of an event as it was given."""
    if not isinstance(event, Mapping):
        event = dict(zip(("hour", "code", "value", "unit"), event, strict=False))
    try:
        value = event.get("value")
        number = math.nan if value in (None, "") else float(value)
        hour, code = float(event["hour"]), str(event["code"]).strip()
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"event {dict(event)}: needs an hour, a code, and a value that is a number ({error})") from None
    if not math.isfinite(hour) or not code or math.isinf(number):
        raise UserError(f"event {dict(event)}: hour and value must be finite, and the code not empty")
    return hour, code, number, str(event.get("unit") or "").strip()


def _batch(prior: Tensor, prompts: list[str], cells: list[str], gaps: list[float], null: Null) -> dict:
    if null not in ("events", "all"):
        raise UserError(f"null={null!r}: events or all")
    there = torch.ones((len(prior), 1), dtype=torch.bool, device=prior.device)
    return {
        "prompt": prompts,
        "events": cells,
        "gap_hours": gaps,
        "link_prior": prior[:, None],
        "link_prior_mask": there,
        "null": null,
    }


def _prediction(pixels: np.ndarray, records: Sequence[SynthesisRecord], given: str) -> Prediction:
    return Prediction(
        images=[Image.fromarray(from_model(image * 2 - 1)) for image in pixels],
        records=[replace(record, given=given) for record in records],
        mean=pixels.mean(0),
        deviation=pixels.std(0),
    )


def _said(latents: Tensor, cell: str, hours: float) -> str:
    """What a record says of the prior and the events."""
    prior = hashlib.sha256(latents[:1].float().cpu().numpy().tobytes()).hexdigest()[:12]
    return f"prior {prior}, {hours:g} h later, events {hashlib.sha256(cell.encode()).hexdigest()[:12]}"
