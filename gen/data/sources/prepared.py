"""A prepared folder: metadata.csv with the index's column names, images/, and boxes and masks where it has them."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from gen.data.sources.adapter import Tables
from gen.data.sources.layout import find_any, read_csv
from gen.data.sources.values import in_index_columns
from gen.errors import UserError

OWN = ("followup_number", "soft")


def is_prepared(folder: Path) -> bool:
    """Whether a folder holds a metadata.csv with the index's columns."""
    path = folder / "metadata.csv"
    return path.is_file() and {"image", "patient_id", "split"} <= set(pd.read_csv(path, nrows=0).columns)


def read_prepared(folder: Path, source: str) -> Tables:
    """Index rows, boxes and masks of a prepared folder.

    Errors: UserError where metadata.csv or its image column is missing.
    """
    path = folder / "metadata.csv"
    if not path.is_file():
        raise UserError(f"{path}: not found; give the folder that holds metadata.csv and images/")
    # age_group is derived or set by the adapter: its wording differs from set to set
    table = read_csv(path).drop(columns="age_group", errors="ignore")
    if "image" not in table:
        raise UserError(f"{path}: column 'image' is missing; this is not a table of {source}")
    for column in table.columns.intersection(["image", "soft"]):
        table[column] = [str(folder.absolute() / image) for image in table[column]]
    table["source"] = source
    own = table[table.columns.intersection(OWN)]
    return Tables(in_index_columns(table).join(own), _boxes(folder), _masks(folder))


def _boxes(folder: Path) -> pd.DataFrame | None:
    path = find_any(folder, "bboxes*.csv")
    if path is None:
        return None
    table = read_csv(path, ("image", "finding", "x", "y", "w", "h"))
    x, y, w, h = (table[column].astype(float) for column in "xywh")
    return pd.DataFrame(
        {"image": _absolute(folder, table["image"]), "label": table["finding"], "x0": x, "y0": y, "x1": x + w}
    ).assign(y1=y + h, reader="")


def _masks(folder: Path) -> pd.DataFrame | None:
    path = find_any(folder, "masks.csv")
    if path is None:
        return None
    table = read_csv(path, ("image", "mask", "label"))
    images, masks = _absolute(folder, table["image"]), _absolute(folder, table["mask"])
    return pd.DataFrame({"image": images, "structure": table["label"], "mask": masks, "channel": 0, "rle": ""})


def _absolute(folder: Path, names: pd.Series) -> list[str]:
    return [str(folder.absolute() / name) for name in names]
