"""From a YAML file and `key.path=value` overrides to a checked config, and back."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import TypeVar

import yaml
from pydantic import ValidationError

from gen.errors import UserError
from gen.schema import Strict

T = TypeVar("T", bound=Strict)

# Fields that may change between two runs of one command without changing what is being trained.
FREE_FIELDS = {"run", "workers", "checkpoint_every", "log_every", "validate_every", "trackers", "minutes"}
FREE_FIELDS |= {"validation_prompts", "gradient_checkpointing", "index", "moments", "events", "max_bad_share"}
FREE_FIELDS |= {"attention", "compile"}
DEEPEST = 64  # brackets within brackets


def load_config(model: type[T], path: str | Path, overrides: list[str] | tuple[str, ...] = ()) -> T:
    """Read a YAML file, apply `key.path=value` overrides and check every field.

    Errors: UserError naming the file, the field and the remedy.
    """
    values = _read_yaml(Path(path))
    for override in overrides:
        _apply(values, override)
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise UserError(f"{path}: {_first_problem(error)}") from None


def save_config(config: Strict, path: str | Path) -> None:
    """Write a resolved config as YAML."""
    Path(path).write_text(yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False))


def load_job(model: type[T], script: str, arguments: list[str]) -> T:
    """The config that a job's command line names: CONFIG.yaml, then overrides.

    Errors: as `load_config`, and UserError with the usage when there is no argument.
    """
    if not arguments:
        raise UserError(f"no config given; usage: accelerate launch train/{script} CONFIG.yaml [key=value ...]")
    return load_config(model, arguments[0], arguments[1:])


def changed_fields(old: dict, new: dict, prefix: str = "") -> list[str]:
    """Dotted names of result-defining fields that differ between two dumped configs."""
    names = []
    for key in sorted(set(old) | set(new)):
        a, b = old.get(key), new.get(key)
        if isinstance(a, dict) and isinstance(b, dict):
            names += changed_fields(a, b, f"{prefix}{key}.")
        elif a != b and key not in FREE_FIELDS:
            names.append(f"{prefix}{key}")
    return names


def config_hash(config: Strict) -> str:
    """Twelve hexadecimal digits of the resolved config."""
    return hashlib.sha256(json.dumps(config.model_dump(mode="json"), sort_keys=True).encode()).hexdigest()[:12]


def parse_yaml(text: str) -> object:
    """What YAML says; brackets are counted first, for the time that a nested file takes grows with its depth squared.

    Errors: yaml.YAMLError.
    """
    depth = 0
    for character in text:
        depth += (character in "[{") - (character in "]}")
        if depth > DEEPEST:
            raise yaml.YAMLError(f"brackets nested deeper than {DEEPEST}")
    return yaml.load(text, Loader=_Loader)


def _read_yaml(path: Path) -> dict:
    if not path.is_file():
        raise UserError(f"{path}: no such config file; recipes are in configs/")
    try:
        values = parse_yaml(path.read_text())
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise UserError(f"{path}: not valid YAML ({str(error).splitlines()[0]}); mend it or copy a recipe") from None
    if not isinstance(values, dict):
        raise UserError(f"{path}: a config is a table of `key: value` lines")
    return values


def _apply(values: dict, override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise UserError(f"override {override!r}: write it as key.path=value")
    *parents, leaf = key.split(".")
    for parent in parents:
        values = values.setdefault(parent, {})
        if not isinstance(values, dict):
            raise UserError(f"override {override!r}: {parent} is a value, not a section")
    try:
        values[leaf] = parse_yaml(text)
    except (yaml.YAMLError, RecursionError):
        raise UserError(f"override {override!r}: {text!r} is not a YAML value; mend its brackets or quotes") from None


def _first_problem(error: ValidationError) -> str:
    problem = error.errors()[0]
    # pydantic puts the kind of a tagged section into the path, where no user would write it
    parts = [str(part) for part in problem["loc"] if part not in ("unet", "transformer")]
    field = ".".join(parts[:1] + parts[2:] if parts[:1] == ["task"] and len(parts) > 2 else parts)
    if problem["type"] == "extra_forbidden":
        return f"unknown key {field!r}; remove it or correct its spelling"
    if problem["type"] == "missing":
        return f"missing key {field!r}; add it to the file or pass {field}=VALUE"
    said = problem["msg"].removeprefix("Value error, ")
    return f"{field}: {said} (got {problem['input']!r})"


class _Loader(yaml.SafeLoader):
    """YAML 1.2 floats: without this `1e-4` would be read as a string."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)$"),
    list("-+0123456789."),
)
