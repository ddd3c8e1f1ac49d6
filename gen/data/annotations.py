"""What belongs to an index and does not fit one row an image: boxes, masks and clinical events, each a table beside it.

| file | columns |
|---|---|
| boxes.parquet | image, label, x0, y0, x1, y1 (pixels of the image file), reader |
| masks.parquet | image, structure, mask (file), channel (of a .npy stack), rle |
| events.parquet | patient_id, study_id, hadm_id, hours, end_hours, kind, code, name, value, text, unit |

The names are those beside index.parquet; beside a.parquet lie a.boxes.parquet and so on. `image` is the index's path
and, like `mask`, relative to the folder on disk. Hours count from the study, negative before it; an event within the
window of two studies stands there twice. `rle` holds "start length ..." pairs, each start counted from 0 at the top
left, down the columns first.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from gen.data.index import relative_to
from gen.data.tables import named, parsing, read_parquet
from gen.errors import UserError
from gen.files import replacing

BOX_COLUMNS = ("image", "label", "x0", "y0", "x1", "y1", "reader")
MASK_COLUMNS = ("image", "structure", "mask", "channel", "rle")
EVENT_TEXT = ("patient_id", "study_id", "hadm_id", "kind", "code", "name", "text", "unit")
EVENT_COLUMNS = ("patient_id", "study_id", "hadm_id", "hours", "end_hours")
EVENT_COLUMNS += ("kind", "code", "name", "value", "text", "unit")
PATH_COLUMNS = ("image", "mask")
TEXT_COLUMNS = (*PATH_COLUMNS, "label", "structure", "rle")
COLUMNS = {"boxes": BOX_COLUMNS, "masks": MASK_COLUMNS, "events": EVENT_COLUMNS}


def beside(index: str | Path, name: str) -> Path:
    """Where an index keeps its `boxes`, `masks` or `events`: boxes.parquet for index.*, a.boxes.parquet for a.*."""
    path = Path(index)
    return path.with_name(f"{name}.parquet" if path.stem == "index" else f"{path.stem}.{name}.parquet")


def write_boxes(boxes: pd.DataFrame, index: str | Path) -> Path:
    """Write the boxes of an index and return their path."""
    return _write(boxes.reindex(columns=list(BOX_COLUMNS)), beside(index, "boxes"))


def write_masks(masks: pd.DataFrame, index: str | Path) -> Path:
    """Write the masks of an index and return their path."""
    return _write(masks.reindex(columns=list(MASK_COLUMNS)), beside(index, "masks"))


def write_events(events: Iterable[pd.DataFrame], index: str | Path) -> tuple[Path, int]:
    """Write the events of an index, a part at a time, and return their path and number of rows."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = beside(index, "events")
    types = {column: pa.string() if column in EVENT_TEXT else pa.float64() for column in EVENT_COLUMNS}
    schema, rows = pa.schema(list(types.items())), 0
    with replacing(path) as temporary, pq.ParquetWriter(temporary, schema) as writer:
        for part in events:
            writer.write_table(pa.Table.from_pandas(_typed_events(part), schema, preserve_index=False))
            rows += len(part)
    return path, rows


def read_beside(index: str | Path, name: str) -> pd.DataFrame:
    """The `boxes`, `masks` or `events` that belong to an index, with absolute paths."""
    path = beside(index, name)
    if not path.is_file():
        raise UserError(f"{path}: no {name} beside this index; build it again from a source that has them")
    remedy = "build the index again"
    table = read_parquet(path, remedy, COLUMNS[name])
    folder = path.parent.absolute()
    with parsing(path, f"table of {name}", remedy):
        for column in table.columns.intersection(TEXT_COLUMNS):
            table[column] = table[column].astype(object).where(table[column].notna(), "").astype(str)
        for column in table.columns.intersection(PATH_COLUMNS):
            table[column] = [os.path.normpath(folder / value) if value else "" for value in table[column]]
    return table


def read_mask(row: Mapping, shape: tuple[int, int]) -> np.ndarray:
    """One mask of the masks table as the source stores it. Shapes: (H, W) of the image -> [H, W] bool."""
    if row["rle"]:
        with parsing(row["image"], "mask", "its run lengths are damaged, build the index again"):
            return decode_runs(row["rle"], shape)
    path = Path(row["mask"])
    if not path.is_file():
        raise UserError(f"{row['image']}: no such mask file {path}; correct the path or build the index again")
    if path.suffix == ".npy":
        with parsing(row["image"], f"mask {path}", "build the index again"):
            stack = np.load(path, mmap_mode="r")
            return np.asarray(stack[int(row["channel"])] if stack.ndim == 3 else stack) > 0
    from gen.data.images import read_image

    with named(f"{row['image']}: mask"):
        return read_image(path) > 0


def decode_runs(rle: str, shape: tuple[int, int]) -> np.ndarray:
    """Run lengths down the columns as a mask. Shapes: (H, W) -> [H, W] bool."""
    numbers = np.array(rle.split(), dtype=np.int64)
    flat = np.zeros(shape[0] * shape[1], dtype=bool)
    for start, length in zip(numbers[::2], numbers[1::2], strict=True):
        if not 0 <= start <= start + length <= flat.size:
            raise ValueError(f"run {start} {length} leaves the image of {shape[0]} x {shape[1]}")
        flat[start : start + length] = True
    return flat.reshape(shape[1], shape[0]).T


def _write(table: pd.DataFrame, path: Path) -> Path:
    stored = table.copy()
    for column in stored.columns.intersection(PATH_COLUMNS):
        stored[column] = [relative_to(value, path.parent.absolute()) if value else "" for value in stored[column]]
    with replacing(path) as temporary:
        stored.to_parquet(temporary, index=False)
    return path


def _typed_events(part: pd.DataFrame) -> pd.DataFrame:
    part = part.reindex(columns=list(EVENT_COLUMNS))
    for column in EVENT_COLUMNS:
        if column in EVENT_TEXT:
            part[column] = part[column].astype(object).where(part[column].notna(), "").astype(str)
        else:
            part[column] = part[column].astype(float)
    return part
