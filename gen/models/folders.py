"""What a model folder says, read as data and checked before anything is built from it: a folder never runs code."""

from __future__ import annotations

import inspect
import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import nn

from gen.errors import UserError, disk_is_full

LARGEST_SETTINGS = 2**20  # bytes of a config.json; a real one has a few thousand
LARGEST_NUMBER = 2**24  # of a width, a count or a number of steps
MOST_LAYERS = 1024
MOST_LEVELS = 64  # of a list of widths, blocks or layers
ATTENTION = ("eager", "sdpa")  # other names let transformers fetch kernels, which are code
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".msgpack", ".h5")


def read_settings(path: Path) -> dict:
    """A component's JSON settings.

    Errors: UserError for no or another file, sizes no model has, and settings by which a library would load code.
    """
    values = read_json(path, LARGEST_SETTINGS)
    for name, value in _leaves(values, ""):
        _check_setting(path, name, value)
    return values


def check_numbers(path: Path, kind: type, values: dict) -> None:
    """Raise UserError where a setting that must be a number is something else: it would fail only when drawing.

    Whole numbers may be lists in diffusers (one a level) or left out; fractions may not.
    """
    for name, parameter in inspect.signature(kind.__init__).parameters.items():
        default, fraction = parameter.default, parameter.annotation in (float, "float")
        if name not in values or isinstance(default, bool) or not isinstance(default, int | float):
            continue
        value = values[name]
        if isinstance(value, str | dict) or (fraction and not isinstance(value, int | float)):
            raise UserError(f"{path}: {name} {value!r} is no number; fetch the model folder again")


def component_settings(folder: Path, kind: type) -> dict:
    """The settings of a component of a known class, checked. Errors: as `read_settings` and `check_numbers`."""
    values = read_settings(folder / "config.json")
    check_numbers(folder / "config.json", kind, values)
    return values


def read_json(path: Path, largest: int) -> dict:
    """A JSON object of at most so many bytes."""
    if not path.is_file():
        raise UserError(f"{path}: no such file; fetch the model folder again")
    if path.stat().st_size > largest:
        raise UserError(f"{path}: larger than {largest:,} bytes, no such settings exist; fetch the model folder again")
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError, OSError) as error:
        raise UserError(f"{path}: not JSON ({str(error).splitlines()[0]}); fetch the model folder again") from None
    if not isinstance(values, dict):
        raise UserError(f"{path}: holds no settings, but a {type(values).__name__}; fetch the model folder again")
    return values


def refuse_pickles(folder: Path) -> None:
    """Raise UserError where the only weights are pickles, which run code when they are read, or an adapter."""
    if (folder / "adapter_config.json").is_file():
        raise UserError(f"{folder}: holds an adapter (adapter_config.json); merge it into its model and save that")
    names = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    pickles = [name for name in names if name.lower().endswith(PICKLES)]
    if pickles and not any(name.endswith(".safetensors") for name in names):
        raise UserError(
            f"{folder / pickles[0]}: pickled weights are refused, for they can run code; convert them to safetensors"
        )


@contextmanager
def said_plainly(folder: Path, what: str) -> Iterator[None]:
    """Turn whatever a library raises about a damaged folder into a UserError."""
    try:
        yield
    except (MemoryError, torch.OutOfMemoryError):
        raise
    except UserError as error:
        raise (error if str(folder) in str(error) else UserError(f"{folder}: {error}")) from None
    except Exception as error:  # damaged folders fail in many ways inside three libraries
        if disk_is_full(error):
            raise
        reason = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise UserError(f"{folder}: not a usable {what} ({reason[:300]}); fetch it again") from None


def check_loaded(folder: Path, model: nn.Module, report: dict) -> None:
    """Raise UserError unless every weight came from the folder, in its shape and finite.

    `report` is the loading info of diffusers or transformers. Libraries fill absent weights with random numbers.
    """
    for kind, said in (("missing_keys", "lack"), ("mismatched_keys", "have another shape of")):
        names = sorted(str(name) for name in report.get(kind) or ())
        if names:
            raise UserError(f"{folder}: its weights {said} {names[0]} and {len(names) - 1} more; fetch it again")
    for name, tensor in model.state_dict().items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise UserError(f"{folder}: weight {name} has values that are no numbers; fetch or train it again")


def _leaves(value: object, name: str) -> Iterator[tuple[str, object]]:
    """Every value with the name of the setting that it stands under; a list also as itself."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _leaves(inner, str(key))
    elif isinstance(value, list):
        yield name, value
        for inner in value:
            yield from _leaves(inner, name)
    else:
        yield name, value


def _check_setting(path: Path, name: str, value: object) -> None:
    if isinstance(value, list):
        wrong = len(value) > MOST_LEVELS and ("block" in name or "layers" in name)
        value = f"of {len(value)} entries"
    elif "attn_implementation" in name:
        wrong = isinstance(value, str) and value not in ATTENTION
    elif name == "quant_method":
        wrong = True  # its loaders are other packages
    elif isinstance(value, bool) or not isinstance(value, int | float):
        wrong = False
    else:
        most = MOST_LAYERS if "layers" in name else LARGEST_NUMBER
        wrong = not math.isfinite(value) or abs(value) > most
    if wrong:
        raise UserError(f"{path}: {name} {value} is refused; fetch the model folder again")
