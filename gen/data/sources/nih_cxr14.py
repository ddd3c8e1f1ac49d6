"""NIH ChestX-ray14 (Wang et al. 2017): 112,120 images of 30,805 patients, PA and AP, 14 text-mined findings, 984 boxes.

Layout of the NIH Box (and Kaggle): Data_Entry_2017.csv or Data_Entry_2017_v2020.csv, train_val_list.txt,
test_list.txt, BBox_List_2017.csv, images_001/images/00000001_000.png (or images/). The official lists divide patients;
the validation set is drawn from train_val's patients. Ages such as 413 years are blanked, "058Y" is read. Or a
prepared folder: metadata.csv, images/, where `inverted` marks the images that the set stores with dark bone.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from gen.data.sources import values
from gen.data.sources.adapter import Adapter, Tables
from gen.data.sources.layout import (
    complete,
    find_any,
    images_by_name,
    placed,
    plausible_ages,
    read_csv,
    with_validation,
)
from gen.data.sources.prepared import read_prepared

SOURCE = "nih_cxr14"
LICENCE = "NIH Clinical Center: no restrictions on use; attribution requested"
COLUMNS = (
    "Image Index",
    "Finding Labels",
    "Follow-up #",
    "Patient ID",
    "Patient Age",
    "Patient Gender",
    "View Position",
)
BOX_HEADER = ("image", "label", "x", "y", "w", "h")


def read(folder: Path) -> Tables:
    """Index rows and boxes; `followup_number` orders a patient's images, the set has no dates."""
    path = find_any(folder, "Data_Entry_2017*.csv")
    if path is None:
        return read_prepared(folder, SOURCE)
    table = read_csv(path, COLUMNS)
    images = images_by_name(folder, (".png", ".jpg"))
    names = table["Image Index"]
    rows = pd.DataFrame(
        {
            "image": placed(names, images, folder),
            "patient_id": "nih_" + table["Patient ID"].str.zfill(5),
            "study_id": "nih_" + names.str.split(".").str[0],
            "view": table["View Position"],
            "sex": table["Patient Gender"],
            "age": plausible_ages(values.age(age) for age in table["Patient Age"]),
            "findings": table["Finding Labels"],
            "followup_number": table["Follow-up #"].astype(float),
        }
    )
    rows = _official_splits(folder, rows, names)
    return Tables(complete(rows, SOURCE, LICENCE, may_ship=True), _boxes(folder, images))


def _official_splits(folder: Path, rows: pd.DataFrame, names: pd.Series) -> pd.DataFrame:
    path = find_any(folder, "test_list.txt", "*/test_list.txt", "test_list_NIH.txt")
    if path is None:
        return rows
    test = set(path.read_text().split())
    return with_validation(rows.assign(split=["test" if name in test else "train" for name in names]))


def _boxes(folder: Path, images: dict[str, str]) -> pd.DataFrame | None:
    path = find_any(folder, "BBox_List_2017*.csv", "*/BBox_List_2017*.csv")
    if path is None:
        return None
    # the header splits "Bbox [x,y,w,h]" over four columns and leaves empty ones behind
    table = pd.read_csv(path, header=0, usecols=range(6), names=BOX_HEADER)
    table["image"] = placed(table["image"], images, folder)
    corners = {"x0": table["x"], "y0": table["y"], "x1": table["x"] + table["w"], "y1": table["y"] + table["h"]}
    return table[["image", "label"]].assign(**corners, reader="")


ADAPTER = Adapter(
    read=read,
    title="NIH ChestX-ray14",
    access="open (NIH Box, Kaggle)",
    licence=LICENCE,
    telltales=("Data_Entry_2017*.csv",),
)
