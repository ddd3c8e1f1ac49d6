"""Hannover Medical School COVID-19 repository: 243 images of inpatients in series, with laboratory values.

Layout of the repository: data.csv and png/<image_id>.png. Its offsets count from the image ("admission_offset" -5: the
patient came five days before), so that offset_days is their negative; ages are withheld, "-inf" and "inf" lie beyond
a test's range. Laboratory values and intensive care become events. Or a prepared folder with metadata.csv.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from gen.data.sources.adapter import Adapter, Tables
from gen.data.sources.layout import complete, find_any, read_csv
from gen.data.sources.prepared import read_prepared

SOURCE = "hannover_mhh"
LICENCE = "CC BY 3.0"
COLUMNS = ("patient_id", "image_id", "sex", "admission_offset", "projection")
LABS = {"crp": "mg/l", "d-dimer": "mg/l", "factor_xii": "%", "ldh": "U/l", "lymphocytes": "1000/ul"}
LABS |= {"neutrophils": "1000/ul", "pco2": "mmHg", "po2": "mmHg"}
MOMENTS = {
    "icu_admission_offset": "intensive care begins",
    "icu_release_offset": "intensive care ends",
    "death_offset": "death",
}


def read(folder: Path) -> Tables:
    """Index rows counted from admission, and events."""
    path = find_any(folder, "data.csv")
    if path is None:
        return replace(read_prepared(folder, SOURCE), events=[_events(_as_official(read_csv(folder / "metadata.csv")))])
    table = read_csv(path, COLUMNS)
    table = table.assign(study_id="mhh_" + table["image_id"], patient_id="mhh_" + table["patient_id"])
    rows = pd.DataFrame(
        {
            "image": [str(folder.absolute() / "png" / f"{name}.png") for name in table["image_id"]],
            "patient_id": table["patient_id"],
            "study_id": table["study_id"],
            "view": table["projection"],
            "sex": table["sex"],
            "findings": "COVID-19",
            "offset_days": 0 - pd.to_numeric(table["admission_offset"], errors="coerce"),
        }
    )
    return Tables(complete(rows, SOURCE, LICENCE, may_ship=True), events=[_events(table)])


def _as_official(table: pd.DataFrame) -> pd.DataFrame:
    """A prepared table with the official names: days of laboratory values count from the image in both, others not."""
    columns = {}
    for name in LABS:
        prepared = name.replace("-", "_")
        columns |= {f"{prepared}_rel_day": f"{name}_offset", prepared: f"{name}_val"}
    days = pd.to_numeric(table.get("offset_days", pd.Series("", table.index)), errors="coerce")
    for column in [name for name in MOMENTS if name.replace("_offset", "_day") in table]:
        table[column] = pd.to_numeric(table[column.replace("_offset", "_day")], errors="coerce") - days
    return table.rename(columns=columns)


def _events(table: pd.DataFrame) -> pd.DataFrame:
    labs = [_event(table, f"{name}_offset", "lab", name, f"{name}_val", unit) for name, unit in LABS.items()]
    moments = [_event(table, column, "care", name, "", "") for column, name in MOMENTS.items()]
    found = [part for part in (*labs, *moments) if part is not None]
    return pd.concat(found, ignore_index=True) if found else pd.DataFrame(columns=["patient_id", "study_id"])


def _event(table: pd.DataFrame, offset: str, kind: str, name: str, value: str, unit: str) -> pd.DataFrame | None:
    if offset not in table:
        return None
    hours = pd.to_numeric(table[offset], errors="coerce") * 24
    values = pd.to_numeric(table[value], errors="coerce") if value in table else pd.Series(np.nan, index=table.index)
    beyond = np.isinf(values)
    part = pd.DataFrame(
        {
            "patient_id": table["patient_id"],
            "study_id": table["study_id"],
            "hours": hours,
            "end_hours": hours,
            "value": values.where(~beyond),
            "text": np.where(beyond, np.where(values > 0, "above range", "below range"), ""),
        }
    )
    return part.assign(kind=kind, code=name, name=name, unit=unit)[hours.notna()]


ADAPTER = Adapter(
    read=read,
    title="Hannover Medical School COVID-19",
    access="open (GitHub, figshare)",
    licence=LICENCE,
    telltales=("data.csv#admission_offset",),
)
