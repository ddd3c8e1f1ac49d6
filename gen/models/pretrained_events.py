"""An encoder of events that contrast with images has trained, as the start of a temporal model's."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch

from gen.errors import UserError
from gen.models.events import EventsEncoder
from gen.models.folders import component_settings, read_settings
from gen.models.loading import load_component

FIELD = "task.events_from"
# what must be alike, and where a recipe says it
SHAPE = {"described": "task.events", "width": "task.width", "layers": "task.layers", "heads": "task.heads"}
SHAPE |= {"registers": "task.registers"}
OWN = ("seen.", "place")  # of the prior as tokens, which contrast never trains


def encoder_folder(folder: Path) -> Path:
    """Where the encoder is in a run of train/contrastive.py, in its export, or by itself.

    Errors: UserError where there is none.
    """
    for home in (folder / "export" / "events", folder / "events", folder):
        config = home / "config.json"
        if config.is_file() and read_settings(config).get("_class_name") == EventsEncoder.__name__:
            return home
    raise UserError(
        f"{FIELD}: {folder} holds no encoder of events; give a finished run of train/contrastive.py "
        "with clip.events, or leave it out"
    )


def pretrained_vocabulary(folder: Path, given: Mapping | None, found: Mapping[str, Mapping]) -> dict[str, dict]:
    """The vocabulary of a trained encoder, if it speaks of all that the training rows do.

    `given` is what the recipe says, if anything, `found` what the rows say.
    Errors: UserError for another vocabulary, a code that it lacks, a unit that is not its own.
    """
    known = component_settings(encoder_folder(folder), EventsEncoder)["vocabulary"]
    if given is not None and dict(given) != known:
        raise UserError(f"task.vocabulary: not that of {FIELD} {folder}; leave one of the two out")
    remedy = "train it on these events, or leave it out"
    for code, said in found.items():
        if code not in known:
            lacking = sum(other not in known for other in found)
            raise UserError(
                f"{FIELD}: {folder} does not know event {code!r} ({lacking} of {len(found)} codes of the training "
                f"rows are not in its vocabulary); {remedy}"
            )
        if said["unit"] and said["unit"] != known[code]["unit"]:
            raise UserError(
                f"{FIELD}: {folder} knows event {code!r} in {known[code]['unit']!r}, the training rows have it in "
                f"{said['unit']!r}; {remedy}"
            )
    return known


def start_encoder(encoder: EventsEncoder, folder: Path) -> None:
    """Give a new encoder the weights of a trained one, save those for the prior as tokens.

    Errors: UserError for another shape.
    """
    home = encoder_folder(folder)
    theirs = component_settings(home, EventsEncoder)
    for name, field in SHAPE.items():
        if theirs[name] != encoder.config[name]:
            raise UserError(
                f"{FIELD}: {folder} has {name} {theirs[name]!r}, {field} is {encoder.config[name]!r}; "
                f"set {field}={theirs[name]} or leave {FIELD} out"
            )
    if theirs["token_width"] != encoder.config.token_width:
        raise UserError(
            f"{FIELD}: {folder} has tokens of width {theirs['token_width']}, the text encoder here of "
            f"{encoder.config.token_width}; train it with clip.events.token_width={encoder.config.token_width}"
        )
    with torch.random.fork_rng(devices=[]):  # what is drawn after this is as without it
        weights = load_component(EventsEncoder, home).state_dict()
    shared = {name: weight for name, weight in weights.items() if not name.startswith(OWN)}
    encoder.load_state_dict(encoder.state_dict() | shared)
