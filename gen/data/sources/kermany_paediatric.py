"""Kermany et al. 2018: 5,856 children of one to five years, normal, bacterial or viral pneumonia, AP.

Layout of Mendeley Data: chest_xray/{train,test}/{NORMAL,PNEUMONIA}/*.jpeg (Kaggle adds a val/ of 16 images); given is
the folder chest_xray or the one around it. Names are person7_bacteria_25, IM-0115-0001, NORMAL2-IM-0927-0001 or, in
Mendeley's later version, BACTERIA-1008087-0001; the first part stands for the patient. Whether person7 of the
bacterial and person7 of the viral images is one child is not said: here they are, and who is in both official sets
goes to the test set whole. Or a prepared folder with metadata.csv.
"""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd

from gen.data.sources.adapter import Adapter, Tables
from gen.data.sources.layout import complete, patients_together, with_validation
from gen.data.sources.prepared import read_prepared

SOURCE = "kermany_paediatric"
LICENCE = "CC BY 4.0"
SPLITS = ("train", "val", "test")
KINDS = {"bacteria": "Bacterial Pneumonia", "virus": "Viral Pneumonia"}
PATIENT = re.compile(r"(person\d+|(?:NORMAL2-)?IM-\d+|(?:NORMAL|BACTERIA|VIRUS)-\d+)", re.I)


def read(folder: Path) -> Tables:
    """Index rows; no child's age or sex is published, the group is known."""
    root = next((place for place in (folder, folder / "chest_xray") if (place / "train" / "NORMAL").is_dir()), None)
    if root is None:
        prepared = read_prepared(folder, SOURCE)
        return Tables(prepared.rows.assign(age_group="child"), prepared.boxes, prepared.masks)
    patterns = (f"{split}/{label}/*.jp*g" for split in SPLITS for label in ("NORMAL", "PNEUMONIA"))
    paths = [path for pattern in patterns for path in sorted(root.absolute().glob(pattern))]
    rows = pd.DataFrame(
        {
            "image": [str(path) for path in paths],
            "patient_id": [_patient(path.stem) for path in paths],
            "study_id": [path.stem for path in paths],
            "view": "AP",
            "age_group": "child",
            "findings": [_finding(path) for path in paths],
            "split": [path.parent.parent.name for path in paths],
        }
    )
    rows = patients_together(rows)
    if not (root / "val").is_dir():
        rows = with_validation(rows)
    return Tables(complete(rows, SOURCE, LICENCE, may_ship=True))


def _patient(stem: str) -> str:
    match = PATIENT.match(stem)
    return f"ker_{match[1] if match else stem}"


def _finding(path: Path) -> str:
    if path.parent.name == "NORMAL":
        return "No Finding"
    return next((finding for kind, finding in KINDS.items() if kind in path.stem.lower()), "Pneumonia")


ADAPTER = Adapter(
    read=read,
    title="Kermany paediatric pneumonia",
    access="open (Mendeley Data, Kaggle)",
    licence=LICENCE,
    telltales=("chest_xray/train/NORMAL", "train/NORMAL/*.jpeg"),
)
