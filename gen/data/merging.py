"""Several indexes as one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd

from gen.data.annotations import beside, read_beside, write_boxes, write_events, write_masks
from gen.data.events import read_events
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


def merge_beside(indexes: Sequence[Path], table: pd.DataFrame, out: Path) -> list[str]:
    """Put together what lies beside the indexes, of the merged table's rows, beside `out`; which of it there was.

    Events keep their clock, the study's or the patient's.
    """
    found = {
        name: [index for index in indexes if beside(index, name).is_file()] for name in ("events", "boxes", "masks")
    }
    if found["events"]:
        write_events(_events(found["events"], set(table["patient_id"].astype(str))), out)
    for name, write in (("boxes", write_boxes), ("masks", write_masks)):
        if found[name]:
            rows = pd.concat([read_beside(index, name) for index in found[name]], ignore_index=True)
            write(rows[rows["image"].isin(table["image"])], out)
    return [name for name, places in found.items() if places]


def _events(indexes: Sequence[Path], patients: set[str]) -> Iterator[pd.DataFrame]:
    for index in indexes:
        rows = read_events(beside(index, "events"))
        yield rows[rows["patient_id"].isin(patients)].rename(columns={"hour": "hours"})


def _shippable(table: pd.DataFrame, index: Path) -> pd.DataFrame:
    if "may_ship" not in table:
        raise UserError(f"{index}: --may-ship-only needs the column may_ship")
    return table[table["may_ship"].astype(bool)]
