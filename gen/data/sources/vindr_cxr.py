"""VinDr-CXR (Nguyen et al. 2022): 18,000 DICOM images, 22 local and 6 global labels, three readers a training image.

Layout of PhysioNet: train/<id>.dicom, test/<id>.dicom, annotations/annotations_{train,test}.csv (a box a row, "No
finding" without one) and annotations/image_labels_{train,test}.csv (a reader a row, one column a label; the test set
is a consensus without reader). Kaggle's VinBigData, another form of it, is not read. The set names no patients, so an
image counts as one; sex and age, mostly blank, come from the headers.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from gen.data.sources.adapter import Adapter, Tables
from gen.data.sources.headers import dicom_headers
from gen.data.sources.layout import complete, find, find_any, read_csv, with_validation

SOURCE = "vindr_cxr"
LICENCE = "PhysioNet Credentialed Health Data License 1.5.0"
NOT_LABELS = ("image_id", "rad_id")
NAMES = {
    "Lung tumor": "Mass",
    "Nodule/Mass": "Nodule;Mass",
    "Clavicle fracture": "Fracture",
    "Rib fracture": "Fracture",
}
NAMES |= {"Pulmonary fibrosis": "Fibrosis", "Other disease": "Other diseases"}
VOTES = 2  # of three readers


def read(folder: Path) -> Tables:
    """Index rows and boxes: a finding that two of three readers give; what one alone gives is `uncertain`."""
    tables = [_read_split(folder, split) for split in ("train", "test")]
    rows = pd.concat(tables, ignore_index=True)
    headers = dicom_headers(rows["image"])
    rows["age"] = headers["age"].where(~headers["age"].str.match(r"0+[YMWD]?$"), "")  # "000Y" is how unknown is written
    rows = rows.assign(sex=headers["sex"], view="PA", width=headers["width"], height=headers["height"])
    return Tables(complete(with_validation(rows), SOURCE, LICENCE), _boxes(folder))


def _read_split(folder: Path, split: str) -> pd.DataFrame:
    table = read_csv(find(folder, f"annotations/image_labels_{split}.csv", f"image_labels_{split}.csv"), ("image_id",))
    labels = [column for column in table.columns if column not in NOT_LABELS]
    votes = table[labels].astype(float).groupby(table["image_id"]).sum()
    readers = table.groupby("image_id").size()
    sure = votes.ge(readers.clip(upper=VOTES), axis=0)
    ids = votes.index.to_series()
    return pd.DataFrame(
        {
            "image": [_image(folder, split, name) for name in ids],
            "patient_id": list(ids),
            "study_id": list(ids),
            "findings": _joined(sure),
            "uncertain": _joined(votes.gt(0) & ~sure),
            "split": split,
        }
    )


def _joined(chosen: pd.DataFrame) -> list[str]:
    labels = [NAMES.get(label, label) for label in chosen.columns]
    return [";".join(label for label, yes in zip(labels, row, strict=True) if yes) for row in chosen.to_numpy()]


def _image(folder: Path, split: str, name: str) -> str:
    places = [folder.absolute() / split / f"{name}{suffix}" for suffix in (".dicom", ".dcm", ".png")]
    return str(next((place for place in places if place.is_file()), places[0]))


def _boxes(folder: Path) -> pd.DataFrame | None:
    parts = []
    for split in ("train", "test"):
        path = find_any(folder, f"annotations/annotations_{split}.csv", f"annotations_{split}.csv")
        if path is None:
            continue
        table = read_csv(path, ("image_id", "class_name", "x_min", "y_min", "x_max", "y_max"))
        table = table[table["x_min"] != ""]
        images = [_image(folder, split, name) for name in table["image_id"]]
        readers = table.get("rad_id", "")
        corners = {new: table[old].astype(float) for new, old in zip(("x0", "y0", "x1", "y1"), CORNERS, strict=True)}
        parts.append(pd.DataFrame({"image": images, "label": list(table["class_name"])}, index=table.index))
        parts[-1] = parts[-1].assign(**corners, reader=readers)
    return pd.concat(parts, ignore_index=True) if parts else None


CORNERS = ("x_min", "y_min", "x_max", "y_max")
ADAPTER = Adapter(
    read=read,
    title="VinDr-CXR",
    access="PhysioNet, credentialed (training and data use agreement)",
    licence=LICENCE,
    telltales=("annotations/image_labels_train.csv", "image_labels_train.csv#rad_id"),
)
