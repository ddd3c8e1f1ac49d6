"""covid-chestxray-dataset (Cohen et al. 2020): figures of articles, four views, free-text notes, a licence an image.

Layout of the repository: metadata.csv (patientid, offset, sex, age, finding, view, modality, folder, filename, license,
clinical_notes ...) and images/. CT slices are left out. Only images under CC BY or CC0 may be passed on. Or a prepared
folder, whose metadata.csv has the index's columns; there frontal images of unstated direction have the view UNKNOWN.
Notes become events as well, and so do what was measured and how the patient was cared for on the day of the image.
"""

from __future__ import annotations

import math
import re
from dataclasses import replace
from pathlib import Path

import pandas as pd

from gen.data.sources.adapter import Adapter, Tables
from gen.data.sources.layout import complete, find, read_csv
from gen.data.sources.prepared import is_prepared, read_prepared

SOURCE = "covid_chestxray"
COLUMNS = ("patientid", "offset", "sex", "age", "finding", "view", "filename", "license")
CT_VIEWS = ("axial", "coronal")
FREE = re.compile(r"CC[ -]?(?:BY|0)(?:[ -]?\d\.\d)?", re.I)
UNKNOWN = ("todo", "unknown", "")
# the last part of "Pneumonia/Viral/COVID-19", where it is not a finding's name by itself
NAMES = {"Viral": "Viral Pneumonia", "Bacterial": "Bacterial Pneumonia", "Fungal": "Fungal Pneumonia"}
NAMES |= {"Aspiration": "Aspiration Pneumonia", "Chlamydophila": "Chlamydophila Pneumonia", "Nocardia": "Nocardiosis"}
MEASURED = {"temperature": "C", "pO2_saturation": "%"}
MEASURED |= dict.fromkeys(("leukocyte_count", "neutrophil_count", "lymphocyte_count"), "10^9/l")
WRITTEN = 0.1  # hours from an image to what is written of it
STATES = {"intubation_present": "intubated", "in_icu": "in intensive care"}  # the others are of the whole illness


def read(folder: Path) -> Tables:
    """Index rows and events; the note of an article's figure stands in `report`, the day since onset in offset_days."""
    if is_prepared(folder):
        return replace(read_prepared(folder, SOURCE), events=[_events(read_csv(folder / "metadata.csv"))])
    table = read_csv(find(folder, "metadata.csv"), COLUMNS)
    kept = ~table["view"].str.lower().str.contains("|".join(CT_VIEWS))
    if "modality" in table:
        kept &= table["modality"].str.lower() == "x-ray"
    if "folder" in table:
        kept &= table["folder"] == "images"  # the others are volumes
    table = table[kept].reset_index(drop=True)
    rows = pd.DataFrame(
        {
            "image": [str(folder.absolute() / "images" / name) for name in table["filename"]],
            "patient_id": "cov_" + table["patientid"],
            "study_id": "cov_" + table["patientid"] + "_" + table["offset"].replace("", "na"),
            "view": table["view"],
            "sex": table["sex"],
            "age": table["age"],
            "findings": [_finding(text) for text in table["finding"]],
            "report": table.get("clinical_notes", ""),
            "offset_days": pd.to_numeric(table["offset"], errors="coerce"),
            "licence": table["license"].replace("", "not stated"),
            "may_ship": ["yes" if FREE.fullmatch(text.strip()) else "no" for text in table["license"]],
        }
    )
    told = rows.join(table[table.columns.intersection([*MEASURED, *STATES])])
    return Tables(complete(rows, SOURCE), events=[_events(told)])


def _events(table: pd.DataFrame) -> pd.DataFrame:
    """Measurements and states at the hour of their study, and notes after it: of a pair the prior's alone is known."""
    table = table[_column(table, "study_id") != ""]
    notes = _column(table, "report").str.split().str.join(" ")
    own = notes[(notes != "") & (_studies_of(table, notes) == 1)]  # others tell of a whole series, of its end as well
    parts = [_event(table.loc[own.index], "note", own).assign(hours=WRITTEN, end_hours=WRITTEN)]
    for column, unit in MEASURED.items():
        values = pd.to_numeric(_column(table, column), errors="coerce")
        parts.append(_event(table[values.notna()], "measured", column, values.dropna(), unit))
    parts += [_event(table[_column(table, column) == "Y"], "care", name) for column, name in STATES.items()]
    return pd.concat(parts, ignore_index=True).drop_duplicates()


def _studies_of(table: pd.DataFrame, notes: pd.Series) -> pd.Series:
    """In how many studies of its patient each note stands."""
    written = table.reindex(columns=["patient_id", "study_id"]).assign(note=notes)
    return written.groupby(["patient_id", "note"])["study_id"].transform("nunique")


def _event(
    rows: pd.DataFrame, kind: str, name: str | pd.Series, value: float | pd.Series = math.nan, unit: str = ""
) -> pd.DataFrame:
    event = {"hours": 0.0, "end_hours": 0.0, "kind": kind, "code": "", "name": name, "value": value}
    return rows.reindex(columns=["patient_id", "study_id"]).assign(**event, text="", unit=unit)


def _column(table: pd.DataFrame, name: str) -> pd.Series:
    return table[name] if name in table else pd.Series("", index=table.index)


def _finding(text: str) -> str:
    last = text.split("/")[-1].strip()
    return "" if last.lower() in UNKNOWN else NAMES.get(last, last)


ADAPTER = Adapter(
    read=read,
    title="covid-chestxray-dataset",
    access="open (GitHub)",
    licence="an image its own: CC BY, CC BY-SA, CC BY-NC-SA, or not stated",
    telltales=("metadata.csv#clinical_notes",),
)
