"""A judge's network from its folder: the shipped one by default, and one line for whatever is wrong with it."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TypeVar

import torch
from diffusers import ModelMixin

from gen.errors import UserError
from gen.models.folders import read_settings, said_plainly
from gen.models.loading import load_component

T = TypeVar("T", bound=ModelMixin)
WEIGHTS = Path(__file__).parents[1] / "weights"
TRIAL = 64  # pixels
PREPROCESSING = 1  # counts changes of what happens to an image before a network sees it


def load_network(kind: type[T], folder: str | Path, sees_images: bool = True) -> T:
    """A network in float32 and evaluation mode from a folder that `save_pretrained` wrote.

    One whose `forward` takes images alone is tried on a blank one.
    Errors: UserError where the folder holds no such network.
    """
    config = Path(folder) / "config.json"
    if not config.is_file():
        raise UserError(f"{folder}: no {kind.__name__} here (config.json is missing); train one with train/")
    found = read_settings(config).get("_class_name")
    if found != kind.__name__:
        raise UserError(f"{folder}: holds a {found}, not a {kind.__name__}; give another folder")
    network = load_component(kind, Path(folder)).eval().requires_grad_(False)
    with said_plainly(Path(folder), kind.__name__), torch.no_grad():
        if sees_images:
            network(torch.zeros(1, 1, TRIAL, TRIAL))  # settings that do not fit raise now
    return network


def network_fingerprint(folder: str | Path) -> str:
    """Twelve hexadecimal digits over weights, configuration and preprocessing."""
    digest = hashlib.sha256(f"preprocessing {PREPROCESSING}".encode())
    for path in sorted(Path(folder).glob("*")):
        if path.name == "config.json" or path.suffix == ".safetensors":
            digest.update(path.read_bytes())
    return digest.hexdigest()[:12]
