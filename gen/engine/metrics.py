"""metrics.jsonl: one JSON object a line, by optimizer step, without gaps or doubles however often a run was killed."""

from __future__ import annotations

import json
from pathlib import Path

from gen.files import replacing


def append(path: Path, line: dict) -> None:
    """Add one line."""
    with open(path, "a") as file:
        file.write(json.dumps(line) + "\n")


def rewind(path: Path, step: int) -> dict[str, float] | None:
    """Drop what a killed run wrote after the state of `step`; returns the validation figures of that step, if any."""
    if not path.is_file():
        return None
    lines = [
        line for line in map(_parsed, path.read_text(errors="replace").splitlines()) if line and line["step"] <= step
    ]
    with replacing(path) as temporary:
        temporary.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return next((line["validation"] for line in lines if line["step"] == step and "validation" in line), None)


def flat(values: dict, prefix: str = "") -> dict[str, bool | int | float | str]:
    """A nested config as trackers take it: dotted names, and text for what is no number."""
    pairs: dict[str, bool | int | float | str] = {}
    for name, value in values.items():
        if isinstance(value, dict):
            pairs |= flat(value, f"{prefix}{name}.")
        else:
            pairs[prefix + name] = value if isinstance(value, bool | int | float | str) else str(value)
    return pairs


def _parsed(text: str) -> dict | None:
    try:
        line = json.loads(text)
    except (ValueError, RecursionError):  # the last line of a killed run
        return None
    return line if isinstance(line, dict) and isinstance(line.get("step"), int) else None
