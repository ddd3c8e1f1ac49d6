"""MIMIC-CXR-JPG 2.x (Johnson et al. 2019): 377,110 images of 65,379 patients, two rule-based label sets, reports apart.

Layout of PhysioNet: mimic-cxr-2.0.0-{metadata,split,chexpert,negbio}.csv.gz and
files/p10/p10000032/s50414267/<dicom>.jpg. Reports (from MIMIC-CXR, mimic-cxr-reports.zip) are read from
files/p10/p10000032/s50414267.txt below the same folder or below mimic-cxr-reports/. Dates are shifted, the same way
for all of a patient's data, so that differences are true. With a MIMIC-IV folder sex and age come from
hosp/patients.csv.gz, and events from gen.data.sources.mimic_events.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from gen.data.sources.adapter import Adapter, Tables
from gen.data.sources.layout import (
    CHEXPERT_LABELS,
    complete,
    days_from_first,
    find,
    find_any,
    one_hot_findings,
    plausible_ages,
    read_csv,
)
from gen.data.sources.mimic_events import Window, events

SOURCE = "mimic_cxr"
LICENCE = "PhysioNet Credentialed Health Data License 1.5.0"
METADATA = ("dicom_id", "subject_id", "study_id", "ViewPosition", "Rows", "Columns", "StudyDate", "StudyTime")


def read(folder: Path, ehr: Path | None = None, window: Window | None = None) -> Tables:
    """Index rows with `uncertain` and `findings_negbio` of their own, and MIMIC-IV events where `ehr` is its folder."""
    table = read_csv(find(folder, "mimic-cxr-2*-metadata.csv*"), METADATA)
    splits = read_csv(find(folder, "mimic-cxr-2*-split.csv*"), ("dicom_id", "split"))
    table["split"] = table["dicom_id"].map(splits.set_index("dicom_id")["split"])
    table = table[table["split"].notna()].reset_index(drop=True)
    times = study_times(table)
    rows = pd.DataFrame(
        {
            "image": _images(folder, table),
            "patient_id": table["subject_id"],
            "study_id": table["study_id"],
            "view": table["ViewPosition"],
            "split": table["split"],
            "report": _reports(folder, table),
            "offset_days": days_from_first(table["subject_id"], times),
            "width": table["Columns"],
            "height": table["Rows"],
            **_labels(folder, table["study_id"]),
            **(_demographics(ehr, table["subject_id"], times) if ehr else {}),
        }
    )
    parts = events(ehr, _studies(table, times), window or Window()) if ehr else None
    return Tables(complete(rows, SOURCE, LICENCE), events=parts)


def study_times(table: pd.DataFrame) -> pd.Series:
    """StudyDate (21800506) and StudyTime (213014.531, leading zeros lost) as one time; NaT where unreadable."""
    clock = table["StudyTime"].str.split(".").str[0].str.zfill(6)
    return pd.to_datetime(table["StudyDate"] + clock, format="%Y%m%d%H%M%S", errors="coerce")


def _images(folder: Path, table: pd.DataFrame) -> list[str]:
    root = folder.absolute() / "files"
    columns = zip(table["subject_id"], table["study_id"], table["dicom_id"], strict=True)
    return [f"{root}/p{patient[:2]}/p{patient}/s{study}/{dicom}.jpg" for patient, study, dicom in columns]


def _reports(folder: Path, table: pd.DataFrame) -> pd.Series:
    roots = [root for root in (folder / "files", folder / "mimic-cxr-reports" / "files") if root.is_dir()]
    studies = table[["subject_id", "study_id"]].drop_duplicates()
    texts = {}
    for patient, study in studies.itertuples(index=False):
        paths = (root / f"p{patient[:2]}" / f"p{patient}" / f"s{study}.txt" for root in roots)
        path = next((path for path in paths if path.is_file()), None)
        texts[study] = path.read_text(errors="replace").strip() if path else ""
    return table["study_id"].map(texts)


def _labels(folder: Path, studies: pd.Series) -> dict[str, pd.Series]:
    columns = {}
    for name, labeller in (("findings", "chexpert"), ("findings_negbio", "negbio")):
        path = find_any(folder, f"mimic-cxr-2*-{labeller}.csv*")
        if path is None:
            continue
        table = read_csv(path, ("study_id", *CHEXPERT_LABELS))
        sure, unsure = one_hot_findings(table, CHEXPERT_LABELS)
        columns[name] = studies.map(dict(zip(table["study_id"], sure, strict=True))).fillna("")
        if name == "findings":
            columns["uncertain"] = studies.map(dict(zip(table["study_id"], unsure, strict=True))).fillna("")
    return columns


def _demographics(ehr: Path, patients: pd.Series, times: pd.Series) -> dict[str, list[str]]:
    columns = ("subject_id", "gender", "anchor_age", "anchor_year")
    known = read_csv(find(ehr, "hosp/patients.csv*"), columns).set_index("subject_id")
    anchors = known[["anchor_age", "anchor_year"]].astype(float)
    ages = patients.map(anchors["anchor_age"]) + times.dt.year - patients.map(anchors["anchor_year"])
    return {"sex": list(patients.map(known["gender"]).fillna("")), "age": plausible_ages(ages)}


def _studies(table: pd.DataFrame, times: pd.Series) -> pd.DataFrame:
    studies = table[["subject_id", "study_id"]].assign(time=times).dropna(subset="time")
    studies = studies.groupby(["subject_id", "study_id"], as_index=False)["time"].min()
    return studies.assign(subject_id=studies["subject_id"].astype(np.int64))


ADAPTER = Adapter(
    read=read,
    title="MIMIC-CXR-JPG 2.x, with MIMIC-IV by --ehr",
    access="PhysioNet, credentialed (training and data use agreement)",
    licence=LICENCE,
    telltales=("mimic-cxr-2*-metadata.csv*",),
)
