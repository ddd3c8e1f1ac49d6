"""manifest.csv: one row an image, the memory of a run."""

from __future__ import annotations

import csv
import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gen.errors import UserError
from gen.files import cell_text, plain_cell, replacing

if TYPE_CHECKING:
    from .request import Item

NAME = "manifest.csv"
COLUMNS = ("img_savename", "prompt", "view", "sex", "age", "findings", "seed", "model", "model_hash")
COLUMNS += ("steps", "guidance", "scheduler", "dtype", "sha256", "synthetic")

PLAIN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")  # leads nowhere but into the folder

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
            rows, names = list(reader), list(reader.fieldnames or [])
    except (UnicodeDecodeError, csv.Error, OSError) as error:
        raise UserError(f"{path}: not readable ({error}); give another --out") from None
    missing = [column for column in COLUMNS if column not in names]
    if missing:
        raise UserError(f"{path}: not a manifest of this command (no column {missing[0]!r}); give another --out")
    for number, row in enumerate(rows, start=1):
        if not PLAIN_NAME.fullmatch(row["img_savename"]):
            raise UserError(
                f"{path}: row {number}: {_shown(row['img_savename'])} is no name of an image; give another --out"
            )
    return {row["img_savename"]: {name: cell_text(row[name]) for name in names} for row in rows}


class CsvLedger:
    """The manifest of a small set, written anew after every batch: one file that people and spreadsheets read."""

    def __init__(self, folder: Path, items: Sequence[Item], settings: Row, kept: dict[str, Row]) -> None:
        self.folder, self.items, self.settings, self.rows = folder, {item.id: item for item in items}, settings, kept
        self._write()

    def add(self, rows: Sequence[Mapping]) -> None:
        """Remember drawn images."""
        for row in rows:
            self.rows[row["file"]] = _csv_row(row, self.settings, self.items[row["id"]])
        if rows:
            self._write()

    def _write(self) -> None:
        order = {name: number for number, name in enumerate(self.items)}
        write_manifest(self.folder, sorted(self.rows.values(), key=lambda row: order[Path(row["img_savename"]).stem]))


def _csv_row(row: Mapping, settings: Row, item: Item) -> Row:
    return {
        "img_savename": row["file"],
        **{name: str(row[name]) for name in ("prompt", "view", "sex")},
        "age": "" if row["age"] is None else f"{row['age']:g}",
        "findings": row["findings"],
        "seed": str(row["seed"]),
        **settings,
        "sha256": row["sha256"],
        "synthetic": "true",
        **item.extra,
    }


def write_manifest(folder: Path, rows: Sequence[Row]) -> None:
    """Write the whole table anew; a reader sees the old one or the new one."""
    names = dict.fromkeys([*COLUMNS, *(name for row in rows for name in row)])
    with replacing(folder / NAME) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(names), restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows({name: plain_cell(str(cell)) for name, cell in row.items()} for row in rows)


def check_same_run(folder: Path, rows: Mapping[str, Row], expected: Mapping[str, Row]) -> None:
    """Raise UserError where a manifest's rows are not those that this run would write."""
    remedy = "give another --out, or the settings of that run"
    for name, row in rows.items():
        if name not in expected:
            raise UserError(f"{folder / NAME}: holds {name}, which is not part of this run; {remedy}")
        for key, value in expected[name].items():
            if row.get(key, "") != value:
                old, new = _shown(row.get(key, "")), _shown(value)
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
