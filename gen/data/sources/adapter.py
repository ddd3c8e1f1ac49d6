"""What an adapter is, what it gives back, and how a folder is recognised."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

COLUMN_MARK = "#"


@dataclass(frozen=True)
class Tables:
    """A data set as the suite reads it: index rows, and the tables beside them that it has (gen.data.annotations)."""

    rows: pd.DataFrame
    boxes: pd.DataFrame | None = None
    masks: pd.DataFrame | None = None
    events: Iterable[pd.DataFrame] | None = None
    rejected: Sequence[tuple[str, str]] = ()  # (name, reason) of what could not be used


@dataclass(frozen=True)
class Adapter:
    """A public data set: how to read its folder, how one gets it, under which terms, and what it is known by.

    A telltale is a glob below the folder; "train.csv#AP/PA" also asks for a column.
    """

    read: Callable[[Path], Tables]
    title: str
    access: str
    licence: str
    telltales: tuple[str, ...]


def recognised(folder: Path, telltales: Iterable[str]) -> bool:
    """Whether a folder shows any of the telltales."""
    return any(_shows(folder, *telltale.split(COLUMN_MARK)) for telltale in telltales)


def _shows(folder: Path, pattern: str, column: str = "") -> bool:
    path = next(iter(folder.glob(pattern)), None)
    if path is None or not column:
        return path is not None
    try:
        return column in pd.read_csv(path, nrows=0).columns.str.strip()
    except (ValueError, OSError):
        return False
