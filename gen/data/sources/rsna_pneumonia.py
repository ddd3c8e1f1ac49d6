"""RSNA pneumonia challenge (Shih et al. 2019): 30,227 DICOM images of NIH ChestX-ray14 with boxes of lung opacity.

Layout of Kaggle, stage 2: stage_2_train_images/<id>.dcm, stage_2_test_images/, stage_2_train_labels.csv (a box a row),
stage_2_detailed_class_info.csv. The ids are an image's; where RSNA's mapping to NIH file names lies in the folder
(pneumonia-challenge-dataset-mappings_2018.json) patients are NIH's, and a patient in both sets goes to the test set.
Without it a patient may be in two splits unseen. The test set has no labels.
"""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd

from gen.data.sources.adapter import Adapter, Tables
from gen.data.sources.headers import dicom_headers
from gen.data.sources.layout import complete, find, find_any, patients_together, read_csv, with_validation
from gen.errors import UserError

SOURCE = "rsna_pneumonia"
LICENCE = "RSNA challenge terms (academic, non-commercial); pixels of NIH ChestX-ray14"
MAPPING = "pneumonia-challenge-dataset-mappings_2018.json"
CLASSES = {
    "Lung Opacity": "Lung Opacity",
    "Normal": "No Finding",
}  # the third, "No Lung Opacity / Not Normal", names none


def read(folder: Path) -> Tables:
    """Index rows and boxes; view, sex and age from the headers."""
    labels = read_csv(find(folder, "stage_2_train_labels.csv"), ("patientId", "x", "y", "width", "height", "Target"))
    train = labels[["patientId", "Target"]].drop_duplicates("patientId")
    test = pd.DataFrame({"patientId": sorted(path.stem for path in (folder / "stage_2_test_images").glob("*.dcm"))})
    table = pd.concat([train.assign(split="train"), test.assign(split="test")], ignore_index=True)
    table["image"] = _images(folder, table)
    headers, patients = dicom_headers(table["image"]), _patients(folder)
    rows = pd.DataFrame(
        {
            "image": table["image"],
            "patient_id": [patients.get(name, name) for name in table["patientId"]],
            "study_id": table["patientId"],
            "findings": _findings(folder, table),
            "split": table["split"],
            **headers.drop(columns="patient"),
        }
    )
    return Tables(complete(with_validation(patients_together(rows)), SOURCE, LICENCE), _boxes(folder, labels))


def _images(folder: Path, table: pd.DataFrame) -> list[str]:
    pairs = zip(table["split"], table["patientId"], strict=True)
    return [str(folder.absolute() / f"stage_2_{split}_images" / f"{name}.dcm") for split, name in pairs]


def _findings(folder: Path, table: pd.DataFrame) -> pd.Series:
    path = find_any(folder, "stage_2_detailed_class_info.csv")
    if path is None:
        return table["Target"].map({"1": "Lung Opacity"}).fillna("")
    classes = read_csv(path, ("patientId", "class")).drop_duplicates("patientId").set_index("patientId")["class"]
    return table["patientId"].map(classes).map(CLASSES).fillna("")


def _patients(folder: Path) -> dict[str, str]:
    path = find_any(folder, MAPPING)
    if path is None:
        return {}
    try:
        items = json.loads(path.read_text())
        return {item["subset_img_id"]: f"nih_{int(item['img_id'].split('_')[0]):05d}" for item in items}
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: not RSNA's mapping to NIH names ({error}); download it again") from None


def _boxes(folder: Path, labels: pd.DataFrame) -> pd.DataFrame:
    boxes = labels[labels["x"] != ""].assign(split="train")
    x, y, w, h = (boxes[column].astype(float) for column in ("x", "y", "width", "height"))
    table = pd.DataFrame({"label": "Lung Opacity", "x0": x, "y0": y, "x1": x + w, "y1": y + h, "reader": ""})
    return table.assign(image=_images(folder, boxes))


ADAPTER = Adapter(
    read=read,
    title="RSNA pneumonia detection",
    access="Kaggle, challenge rules",
    licence=LICENCE,
    telltales=("stage_2_train_labels.csv",),
)
