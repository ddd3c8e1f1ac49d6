"""A judge's network from its folder: the shipped one by default, and one line for whatever is wrong with it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TypeVar

import torch
from diffusers import ModelMixin
from safetensors import SafetensorError

from gen.errors import UserError

T = TypeVar("T", bound=ModelMixin)
WEIGHTS = Path(__file__).parents[1] / "weights"
PREPROCESSING = 1  # counts changes of what happens to an image before a network sees it


def load_network(kind: type[T], folder: str | Path) -> T:
    """A network in float32 and evaluation mode from a folder that `save_pretrained` wrote.

    Errors: UserError where the folder holds no such network.
    """
    config = Path(folder) / "config.json"
    if not config.is_file():
        raise UserError(f"{folder}: no {kind.__name__} here (config.json is missing); train one with train/")
    try:
        found = json.loads(config.read_text()).get("_class_name")
        if found != kind.__name__:
            raise UserError(f"{folder}: holds a {found}, not a {kind.__name__}; give another folder")
        network = kind.from_pretrained(folder, torch_dtype=torch.float32, use_safetensors=True)
    except UserError:
        raise
    except (OSError, SafetensorError, ValueError, RuntimeError, AttributeError, TypeError) as error:
        raise UserError(f"{folder}: not a usable {kind.__name__} ({str(error).splitlines()[0]})") from None
    return network.eval().requires_grad_(False)


def network_fingerprint(folder: str | Path) -> str:
    """Twelve hexadecimal digits over weights, configuration and preprocessing."""
    digest = hashlib.sha256(f"preprocessing {PREPROCESSING}".encode())
    for path in sorted(Path(folder).glob("*")):
        if path.name == "config.json" or path.suffix == ".safetensors":
            digest.update(path.read_bytes())
    return digest.hexdigest()[:12]
