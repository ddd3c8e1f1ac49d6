"""CheXpert (Irvin et al. 2019): 224,316 images of 65,240 patients, 14 labels of a rule-based labeller, -1 uncertain.

Layout: CheXpert-v1.0 or CheXpert-v1.0-small with train.csv, valid.csv and train/patient00001/study1/view1_frontal.jpg;
the later test set is read where test.csv (Path and labels) lies beside them. Studies have numbers, no dates.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import pandas as pd

from gen.data.sources.adapter import Adapter, Tables
from gen.data.sources.layout import CHEXPERT_LABELS, complete, one_hot_findings, read_csv
from gen.errors import UserError

SOURCE = "chexpert"
LICENCE = "Stanford University Dataset Research Use Agreement (non-commercial)"
DETAILS = ("Sex", "Age", "Frontal/Lateral", "AP/PA")
SPLITS = {"train": "train", "valid": "val", "test": "test"}


def read(folder: Path) -> Tables:
    """Index rows with `uncertain` and `followup_number` of their own; age 0 stands for an unknown age."""
    tables = [_read_split(folder / f"{name}.csv", split) for name, split in SPLITS.items()]
    present = [table for table in tables if table is not None]
    if not present:
        raise UserError(f"{folder}: train.csv and valid.csv not found; give the folder CheXpert-v1.0[-small]")
    table = pd.concat(present, ignore_index=True)
    findings, uncertain = one_hot_findings(table, CHEXPERT_LABELS)
    ids = paths_as_ids(table["Path"])
    rows = pd.DataFrame(
        {
            # "CheXpert-v1.0-small/train/patient00001/study1/view1_frontal.jpg": the first part names the folder itself
            "image": [str(folder.absolute().joinpath(*PurePosixPath(path).parts[-4:])) for path in table["Path"]],
            **ids,
            "view": _views(table["Frontal/Lateral"], table["AP/PA"]),
            "sex": table["Sex"],
            "age": table["Age"].where(table["Age"] != "0", ""),
            "findings": findings,
            "uncertain": uncertain,
            "split": table["split"],
        }
    )
    return Tables(complete(rows, SOURCE, LICENCE))


def paths_as_ids(paths: pd.Series) -> dict[str, pd.Series]:
    """patient_id, study_id and followup_number from ".../patient00001/study2/view1_frontal.jpg"."""
    parts = paths.str.extract(r"(?P<patient>patient\d+)/study(?P<study>\d+)/")
    study = parts["patient"] + "_study" + parts["study"]
    return {"patient_id": parts["patient"], "study_id": study, "followup_number": parts["study"].astype(float)}


def _read_split(path: Path, split: str) -> pd.DataFrame | None:
    if not path.is_file():
        return None
    # the test set's table names paths and labels only
    table = read_csv(path, ("Path", *(() if split == "test" else DETAILS), *CHEXPERT_LABELS))
    absent = [column for column in DETAILS if column not in table]
    return table.assign(**dict.fromkeys(absent, ""), split=split)


def _views(sides: pd.Series, directions: pd.Series) -> pd.Series:
    return directions.where(sides.str.lower() != "lateral", "LATERAL")


ADAPTER = Adapter(
    read=read,
    title="CheXpert (v1.0, v1.0-small)",
    access="Stanford AIMI, registration",
    licence=LICENCE,
    telltales=("train.csv#Frontal/Lateral", "valid.csv#Frontal/Lateral"),
)
