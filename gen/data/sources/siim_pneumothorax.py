"""SIIM-ACR pneumothorax (2019): 12,047 DICOM images of NIH ChestX-ray14, 2,669 with masks as run lengths.

Layout: train-rle.csv or stage_2_train.csv (ImageId, EncodedPixels; -1 or blank for none, several rows an image), and
dicom-images-train/<study>/<series>/<id>.dcm, dicom-images-test/. Starts count from the end of the run before, down the
columns of the 1024 x 1024 image. Every header names its own PatientID; no mapping to NIH's patients is official. Images
that the table does not name have no labels.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from gen.data.sources.adapter import Adapter, Tables
from gen.data.sources.headers import dicom_headers
from gen.data.sources.layout import complete, find, images_by_name, patients_together, read_csv, with_validation
from gen.errors import UserError

SOURCE = "siim_pneumothorax"
LICENCE = "SIIM-ACR challenge terms; pixels of NIH ChestX-ray14"
NONE = ("-1", "")


def read(folder: Path) -> Tables:
    """Index rows and masks; view, sex and age from the headers."""
    labels = read_csv(
        find(folder, "train-rle.csv", "stage_2_train.csv", "*/train-rle.csv"), ("ImageId", "EncodedPixels")
    )
    labels["EncodedPixels"] = labels["EncodedPixels"].str.strip()
    images = images_by_name(folder, (".dcm",), stem=True)
    if not images:
        raise UserError(f"{folder}: holds no .dcm files; give the folder with dicom-images-train/")
    table = pd.DataFrame({"name": list(images), "image": list(images.values())}).sort_values("name", ignore_index=True)
    headers = dicom_headers(table["image"])
    found = labels.groupby("ImageId")["EncodedPixels"].agg(lambda runs: not set(runs) <= set(NONE))
    rows = pd.DataFrame(
        {
            "image": table["image"],
            "patient_id": headers["patient"].where(headers["patient"] != "", table["name"]),
            "study_id": table["name"],
            "findings": table["name"].map(found).map({True: "Pneumothorax"}).fillna(""),
            "split": ["test" if "dicom-images-test" in path else "train" for path in table["image"]],
            **headers.drop(columns="patient"),
        }
    )
    rows = with_validation(patients_together(rows))
    return Tables(complete(rows, SOURCE, LICENCE), masks=_masks(labels, images))


def absolute_runs(encoded: str) -> str:
    """ "10 3 5 2" (start from the end of the run before) -> "10 3 18 2" (start from the first pixel)."""
    numbers = np.array(encoded.split(), dtype=np.int64)
    gaps, lengths = numbers[::2], numbers[1::2]
    starts = np.cumsum(gaps) + np.concatenate([[0], np.cumsum(lengths)[:-1]])
    return " ".join(str(number) for pair in zip(starts, lengths, strict=True) for number in pair)


def _masks(labels: pd.DataFrame, images: dict[str, str]) -> pd.DataFrame:
    runs = labels[~labels["EncodedPixels"].isin(NONE) & labels["ImageId"].isin(images.keys())]
    table = pd.DataFrame({"image": runs["ImageId"].map(images), "structure": "Pneumothorax", "mask": "", "channel": 0})
    return table.assign(rle=[absolute_runs(encoded) for encoded in runs["EncodedPixels"]]).reset_index(drop=True)


ADAPTER = Adapter(
    read=read,
    title="SIIM-ACR pneumothorax",
    access="Kaggle, challenge rules",
    licence=LICENCE,
    telltales=("train-rle.csv", "stage_2_train.csv#EncodedPixels", "dicom-images-train"),
)
