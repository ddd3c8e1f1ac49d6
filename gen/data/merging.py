"""Several indexes as one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from gen.data.index import PATHS, read_index, validate
from gen.errors import UserError

LOCAL = ("bone", "masks")  # paths that are relative to their own index and not made absolute when it is read


def merged(indexes: Sequence[Path], may_ship_only: bool = False) -> tuple[pd.DataFrame, list[str]]:
    """All rows of the indexes, with absolute image paths, and the columns that were left out.

    Errors: UserError for an image that is in two of them, or a patient in two splits.
    """
    tables = [read_index(index) for index in indexes]
    if may_ship_only:
        tables = [_shippable(table, index) for table, index in zip(tables, indexes, strict=True)]
    left_out = sorted({name for table in tables for name in LOCAL if name in table and name not in PATHS})
    table = pd.concat([table.drop(columns=left_out, errors="ignore") for table in tables], ignore_index=True)
    for name in table:
        if table[name].dtype.kind not in "fiub":  # text that only some of them have
            table[name] = table[name].fillna("")
    validate(table, " + ".join(map(str, indexes)))
    return table, left_out


def _shippable(table: pd.DataFrame, index: Path) -> pd.DataFrame:
    if "may_ship" not in table:
        raise UserError(f"{index}: --may-ship-only needs the column may_ship")
    return table[table["may_ship"].astype(bool)]
