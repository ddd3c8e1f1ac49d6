"""manifest.csv: one row an image, the memory of a run."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from gen.errors import UserError
from gen.files import replacing

NAME = "manifest.csv"
COLUMNS = ("img_savename", "prompt", "view", "sex", "age", "findings", "seed", "model", "model_hash")
COLUMNS += ("steps", "guidance", "scheduler", "dtype", "sha256", "synthetic")

Row = dict[str, str]


def read_manifest(folder: Path) -> dict[str, Row]:
    """Rows by file name; none where there is no manifest.

    Errors: UserError for a file of another kind.
    """
    path = folder / NAME
    if not path.exists():
        return {}
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file, restval="")
            rows = list(reader)
    except (UnicodeDecodeError, csv.Error, OSError) as error:
        raise UserError(f"{path}: not readable ({error}); give another --out") from None
    missing = [column for column in COLUMNS if column not in (reader.fieldnames or [])]
    if missing:
        raise UserError(f"{path}: not a manifest of this command (no column {missing[0]!r}); give another --out")
    return {row["img_savename"]: row for row in rows}


def write_manifest(folder: Path, rows: Sequence[Row]) -> None:
    """Write the whole table anew; a reader sees the old one or the new one."""
    names = dict.fromkeys([*COLUMNS, *(name for row in rows for name in row)])
    with replacing(folder / NAME) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(names), restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def check_same_run(folder: Path, rows: Mapping[str, Row], expected: Mapping[str, Row]) -> None:
    """Raise UserError where a manifest's rows are not those that this run would write."""
    remedy = "give another --out, or the settings of that run"
    for name, row in rows.items():
        if name not in expected:
            raise UserError(f"{folder / NAME}: holds {name}, which is not part of this run; {remedy}")
        for key, value in expected[name].items():
            if row[key] != value:
                old, new = _shown(row[key]), _shown(value)
                raise UserError(f"{folder / NAME}: {name} was drawn with {key} {old}, now {new}; {remedy}")


def intact(folder: Path, row: Row) -> bool:
    """Whether a row's file is there, with the bytes that were written."""
    path = folder / row["img_savename"]
    return path.is_file() and file_hash(path) == row["sha256"]


def file_hash(path: Path) -> str:
    """SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _shown(text: str) -> str:
    return repr(text if len(text) <= 60 else f"{text[:57]}...")
