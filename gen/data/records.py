"""Rows of a table as dicts, made when asked for: an index of a million radiographs stays small in memory."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import pyarrow as pa

SHARED_BELOW = 65_536  # distinct values that are kept as objects; more are kept as bytes and read one at a time


class Records:
    """`records[row]` is a row as a dict of Python values, in about ten microseconds."""

    def __init__(self, table: pd.DataFrame) -> None:
        self.columns = {str(name): _compact(table[name]) for name in table}
        self.length = len(table)

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, row: int) -> dict:
        return {name: column[row] for name, column in self.columns.items()}


class _Strings(Sequence):
    """Text that differs from row to row, as one block of bytes."""

    def __init__(self, column: pd.Series) -> None:
        self.array = pa.array(column, pa.large_string(), from_pandas=True)

    def __len__(self) -> int:
        return len(self.array)

    def __getitem__(self, row: int) -> str:
        return self.array[row].as_py()


def _compact(column: pd.Series) -> Sequence | np.ndarray:
    if column.dtype.kind in "fiub":
        return column.to_numpy()
    try:
        codes, values = pd.factorize(column)
    except TypeError:  # nested values in a column of the user's own
        codes, values = pd.factorize(column.astype(str))
    if len(values) < SHARED_BELOW and (codes >= 0).all():
        return np.asarray(values, dtype=object)[codes]
    return _Strings(column)
