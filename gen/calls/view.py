"""`pipe(prompt, view=..., angle=..., study=..., views=...)`: from views and images of a study to a batch."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from gen.calls.painting import Picture, Pipe
from gen.data.compose import attributes, compose_prompt
from gen.data.images import from_model, model_pixels
from gen.data.linked import SEPARATOR
from gen.data.prompts import VIEWS
from gen.errors import UserError

Source = Picture | Tensor  # a tensor holds latents
Given = Source | tuple[Source, str | float]  # with its view, or its angle in degrees
CIRCLE = 360.0
DEGREES = "degrees, from -360 to 360; 0 is PA, 90 left lateral, 180 AP"
ONE = (str, Path, Image.Image, np.ndarray, Tensor)


def draw_views(
    pipe: Pipe,
    prompts: Sequence[str],
    views: Sequence[str | None],
    sex: str | None,
    age: float | None,
    angle: float | None,
    study: Sequence[Given] | Source,
    draw: Callable[[dict], Any],
) -> Any:
    """Draw every view of every prompt's patient, one view after another, each with the study so far as its context.

    Images and records come patient by patient. A text model draws one view, from the prompt alone.
    Errors: UserError for an unknown view, too many images, or a study, an angle or several views for a text model.
    """
    study = [study] if isinstance(study, ONE) else list(study)
    _check(pipe, views, angle, study)
    if pipe.config.task == "text":
        return draw({"prompt": [compose_prompt(prompt, views[0], sex, age) for prompt in prompts]})
    studies, drawn = [list(study) for _ in prompts], []
    for view in views:
        texts = [compose_prompt(prompt, view, sex, age) for prompt in prompts]
        drawn.append(draw(view_batch(pipe, texts, [angle] * len(texts), studies)))
        studies = [[*given, (image, view or "")] for given, image in zip(studies, drawn[-1].images, strict=True)]
    return _by_patient(drawn, said_of(pipe, angle, study))


def view_batch(
    pipe: Pipe, prompts: list[str], angles: Sequence[float | None], studies: Sequence[Sequence[Given]]
) -> dict:
    """The batch of a view model: a prompt, an angle in degrees and the images of a study for each row.

    Of more images than the model takes the first count. An image that several rows share is encoded once.
    """
    most = pipe.task.needs.links["context"]
    pairs = [[_pair(given) for given in study][:most] for study in studies]
    shape = pipe.vae.latent_shape(pipe.config.resolution)
    latents = torch.zeros((len(prompts), most, *shape), device=pipe._execution_device, dtype=pipe.vae.dtype)
    encoded: dict[int, Tensor] = {}
    for row, study in zip(latents, pairs, strict=True):
        for place, (picture, *_) in enumerate(study):
            if id(picture) not in encoded:
                encoded[id(picture)] = picture if isinstance(picture, Tensor) else pipe.encode([picture])[0]
            row[place] = encoded[id(picture)]
    counts = torch.tensor([len(study) for study in pairs], device=latents.device)
    return {
        "prompt": prompts,
        "view": [attributes(prompt)["view"] for prompt in prompts],
        "angle": [math.nan if angle is None else angle for angle in angles],
        "link_context": latents,
        "link_context_mask": torch.arange(most, device=latents.device) < counts[:, None],
        "context_view": [SEPARATOR.join(view for _, view, _ in study) for study in pairs],
        "context_angle": [SEPARATOR.join(turn for *_, turn in study) for study in pairs],
    }


def said_of(pipe: Pipe, angle: float | None, study: Sequence[Given]) -> str:
    """What a record says of an angle and a study: views and hashes of the images as the model sees them."""
    said = [] if angle is None else [f"angle {angle:g}"]
    for picture, view, turn in map(_pair, study):
        if not isinstance(picture, Tensor):
            digest = hashlib.sha256(from_model(model_pixels(picture, pipe.config.resolution)).tobytes()).hexdigest()
            said.append(f"{turn or view or 'UNKNOWN'} {digest[:12]}")
    return "; ".join(said)


def _check(pipe: Pipe, views: Sequence[str | None], angle: float | None, study: Sequence[Given]) -> None:
    for name, given in (("study", bool(study)), ("angle", angle is not None), ("views", len(views) > 1)):
        if given and pipe.config.task != "view":
            raise UserError(f"{name}: {pipe.config.name} is of task {pipe.config.task}; load a model of task view")
    if pipe.config.task not in ("text", "view"):
        raise UserError(f"{pipe.config.name} is of task {pipe.config.task}, which needs more than a prompt")
    if angle is not None and not -CIRCLE <= angle <= CIRCLE:
        raise UserError(f"angle={angle}: {DEGREES}")
    if len(study) > 3:
        raise UserError(f"study: {len(study)} images; at most 3")
    if not views or (angle is not None and len(views) > 1):
        raise UserError("views: at least one, and an angle only for one")
    for given in study:
        _pair(given)


def view_or_angle(said: str | float) -> tuple[str, str]:
    """The view of an image of a study by its name, or its angle as text, the other empty.

    Errors: UserError for what is neither.
    """
    view = "" if said is None else str(said).strip().upper()
    try:
        angle = float(view)
    except ValueError:
        if view and view not in VIEWS:
            raise UserError(f"view {said!r}: one of {', '.join(VIEWS)}, or an angle in degrees") from None
        return view, ""
    if not -CIRCLE <= angle <= CIRCLE:
        raise UserError(f"view {said!r}: {DEGREES}")
    return "", f"{angle:g}"


def _pair(given: Given) -> tuple[Source, str, str]:
    """Image, view and angle, empty where they are not said."""
    picture, said = given if isinstance(given, tuple) else (given, "")
    try:
        return picture, *view_or_angle(said)
    except UserError as error:
        raise UserError(f"study: {error}") from None


def _by_patient(drawn: list, told: str) -> Any:
    """Outputs of several views as one, patient by patient."""
    records = [
        replace(record, given=told)
        for patient in zip(*(out.records for out in drawn), strict=True)
        for record in patient
    ]
    images = [image for patient in zip(*(out.images for out in drawn), strict=True) for image in patient]
    first = drawn[0].images
    if isinstance(first, Tensor):
        images = torch.stack(images)
    elif isinstance(first, np.ndarray):
        images = np.stack(images)
    return type(drawn[0])(images=images, records=records)
