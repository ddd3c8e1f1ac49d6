"""Tables from files that may be damaged: whatever a parser raises becomes one line that names the file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq

from gen.errors import UserError

LONGEST = 300  # characters of another library's words


@contextmanager
def parsing(path: str | Path, kind: str, remedy: str) -> Iterator[None]:
    """Turn any error of a parser into a UserError; only UserErrors and a full memory pass as they are."""
    try:
        yield
    except (UserError, MemoryError):
        raise
    except Exception as error:  # damaged files fail in many ways inside pandas, Arrow and numpy
        words = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{path}: not a readable {kind} ({words[:LONGEST]}); {remedy}") from None


def read_csv_text(path: str | Path, remedy: str) -> pd.DataFrame:
    """A CSV table with every cell as text: patient 007 stays 007, and the finding "None" stays a word."""
    with parsing(path, "CSV table", remedy):
        # low_memory off: one type a column however long the file
        return pd.read_csv(path, dtype=str, keep_default_na=False, encoding_errors="strict", low_memory=False)


def read_parquet(path: str | Path, remedy: str, columns: Sequence[str] = ()) -> pd.DataFrame:
    """A Parquet table, which must have these columns."""
    with parsing(path, "Parquet table", remedy):
        pq.read_table(path).validate(full=True)  # text that is no UTF-8 would raise later, in the middle of something
        table = pd.read_parquet(path)
    missing = [column for column in columns if column not in table]
    if missing:
        raise UserError(f"{path}: column {missing[0]!r} is missing; {remedy}")
    return table


@contextmanager
def named(place: str) -> Iterator[None]:
    """Put a place before the words of a UserError."""
    try:
        yield
    except UserError as error:
        raise UserError(f"{place}: {error}") from None
