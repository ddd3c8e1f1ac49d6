"""Tables of image files that a user hands in: pairs, series, views."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from gen.errors import UserError


def read_pairs(table: str | Path, images: Sequence[str], columns: Sequence[str] = (), more: str = "\0") -> pd.DataFrame:
    """A CSV table whose `images` columns, and others whose names begin with `more`, are paths relative to its folder.

    Errors: UserError naming the file, row (1 is the first) and column of what is missing.
    """
    path = Path(table)
    if not path.is_file():
        raise UserError(f"{path}: no such table; give a CSV file with the columns {', '.join([*images, *columns])}")
    try:
        rows = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (ValueError, OSError) as error:
        raise UserError(f"{path}: not a readable CSV table ({str(error).splitlines()[0]})") from None
    missing = [name for name in (*images, *columns) if name not in rows]
    if missing:
        raise UserError(f"{path}: column {missing[0]!r} is missing (found: {', '.join(rows.columns)}); add it")
    if rows.empty:
        raise UserError(f"{path}: the table has no rows")
    for name in rows.columns:
        if name in images or name.startswith(more):
            rows[name] = [_found(path, row, name, value) for row, value in enumerate(rows[name], start=1)]
    return rows


def _found(table: Path, row: int, column: str, value: str) -> str:
    image = Path(os.path.normpath(table.parent.absolute() / value))
    if not value or not image.is_file():
        raise UserError(f"{table}: row {row}: {column}: no such image file {value!r}; correct the path")
    return str(image)
