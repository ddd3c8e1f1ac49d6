"""MIMIC-IV (2.x, 3.x) events around MIMIC-CXR studies, read in parts: labevents alone has over 100 million rows.

Layout of PhysioNet: hosp/{admissions,labevents,d_labitems,prescriptions}.csv.gz and
icu/{icustays,inputevents,procedureevents,d_items}.csv.gz. A table that is not there is left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from gen.data.sources.layout import find_any, read_csv
from gen.errors import UserError

ROWS_A_PART = 200_000
HOUR = pd.Timedelta(hours=1)


@dataclass(frozen=True)
class Window:
    """Hours around a study within which an event, or a part of it, is kept."""

    before: float = 72.0
    after: float = 24.0


@dataclass(frozen=True)
class EventTable:
    """A MIMIC-IV table and which of its columns hold what; the first that the file has counts, "" means none."""

    path: str
    kind: str
    start: str
    end: str
    code: str
    name: str
    value: tuple[str, ...] = ()
    unit: tuple[str, ...] = ()
    names: str = ""

    def columns(self) -> list[str]:
        """Every column that is read, without repeats."""
        single = (self.start, self.end, self.code, self.name)
        return list(dict.fromkeys(name for name in ("subject_id", "hadm_id", *single, *self.value, *self.unit) if name))


TABLES = (
    EventTable("hosp/admissions.csv*", "admission", "admittime", "dischtime", "admission_type", "admission_type"),
    EventTable("icu/icustays.csv*", "icu stay", "intime", "outtime", "stay_id", "first_careunit"),
    EventTable(
        "hosp/labevents.csv*", "lab", "charttime", "", "itemid", "", ("valuenum", "value"), ("valueuom",), "d_labitems"
    ),
    EventTable(
        "hosp/prescriptions.csv*",
        "prescription",
        "starttime",
        "stoptime",
        "ndc",
        "drug",
        ("dose_val_rx",),
        ("dose_unit_rx",),
    ),
    EventTable(
        "icu/inputevents.csv*", "input", "starttime", "endtime", "itemid", "", ("amount",), ("amountuom",), "d_items"
    ),
    EventTable(
        "icu/procedureevents.csv*",
        "procedure",
        "starttime",
        "endtime",
        "itemid",
        "",
        ("value",),
        ("valueuom",),
        "d_items",
    ),
)


def events(ehr: Path, studies: pd.DataFrame, window: Window) -> Iterator[pd.DataFrame]:
    """Parts of the events table: every event of the studies' patients within the window of a study.

    `studies` holds subject_id (int64), study_id and time, one row a study.
    Errors: UserError where the folder has none of the tables, or a table lacks a column.
    """
    found = [(table, path) for table in TABLES if (path := find_any(ehr, table.path))]
    if not found:
        raise UserError(f"{ehr}: no MIMIC-IV tables; give the folder that holds hosp/labevents.csv.gz, icu/ ...")
    subjects = studies["subject_id"].unique()
    for table, path in found:
        names = _names(ehr, table.names)
        for part in _parts(path, table.columns()):
            part = part[np.isin(part["subject_id"].to_numpy(), subjects)]
            if len(part):
                yield _joined(_described(part, table, names), studies, window)


def _names(ehr: Path, dictionary: str) -> pd.Series | None:
    path = find_any(ehr, f"hosp/{dictionary}.csv*", f"icu/{dictionary}.csv*") if dictionary else None
    if path is None:
        return None
    return read_csv(path, ("itemid", "label")).drop_duplicates("itemid").set_index("itemid")["label"]


def _parts(path: Path, columns: Sequence[str]) -> Iterator[pd.DataFrame]:
    types = {column: str for column in columns} | {"subject_id": np.int64}
    try:
        yield from pd.read_csv(path, usecols=list(columns), dtype=types, keep_default_na=False, chunksize=ROWS_A_PART)
    except (ValueError, OSError, EOFError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{path}: not a table of MIMIC-IV 2.x or 3.x ({reason}); download it again") from None


def _described(part: pd.DataFrame, table: EventTable, names: pd.Series | None) -> pd.DataFrame:
    """The part under the event table's column names, with times for hours."""
    start = pd.to_datetime(part[table.start], errors="coerce")
    code = part[table.code]
    name = part[table.name] if table.name else code.map(names).fillna("") if names is not None else ""
    value = pd.to_numeric(part[table.value[0]], errors="coerce") if table.value else np.nan
    text = part[table.value[-1]].where(np.isnan(value), "") if table.value else ""
    described = {
        "subject_id": part["subject_id"],
        "hadm_id": part["hadm_id"].str.removesuffix(".0"),
        "start": start,
        "end": pd.to_datetime(part[table.end], errors="coerce").fillna(start) if table.end else start,
        "kind": table.kind,
        "code": code,
        "name": name,
        "value": value,
        "text": text,
        "unit": part[table.unit[0]] if table.unit else "",
    }
    return pd.DataFrame(described).dropna(subset="start")


def _joined(part: pd.DataFrame, studies: pd.DataFrame, window: Window) -> pd.DataFrame:
    pairs = part.merge(studies, on="subject_id")
    hours = (pairs["start"] - pairs["time"]) / HOUR
    end_hours = (pairs["end"] - pairs["time"]) / HOUR
    kept = (end_hours >= -window.before) & (hours <= window.after)
    pairs = pairs.assign(hours=hours.round(3), end_hours=end_hours.round(3), patient_id=pairs["subject_id"].astype(str))
    return pairs[kept].drop(columns=["subject_id", "start", "end", "time"]).reset_index(drop=True)
