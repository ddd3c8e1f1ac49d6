"""Clinical events before an image: tables of them, and what one row of an index holds.

Two tables are read. On the patient's clock: patient_id, hour (from the patient's first image, as offset_days is), code,
value, unit. On the study's clock, as cxr-index writes it (gen.data.annotations): patient_id, study_id, hours (from the
study, negative before it), kind, name, value, unit. A row of a task holds its events as one JSON cell.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from gen.data.tables import read_csv_text, read_parquet
from gen.errors import UserError

MOST = 1024  # events of one image
REMEDY = "columns: patient_id, hour, code, value, unit"
Vocabulary = dict[str, dict]  # code -> {"unit": str, "centre": float, "scale": float}


@dataclass(frozen=True)
class Event:
    """Something done to, or measured of, a patient: hours before the image that is predicted; value NaN for none."""

    before: float
    code: str
    value: float = math.nan
    unit: str = ""

    def words(self) -> str:
        """The event as text, without its time."""
        plain = math.isnan(self.value) or not (self.value or self.unit)
        return self.code if plain else f"{self.code} {self.value:g} {self.unit}".strip()


def write_cell(events: Iterable[Event]) -> str:
    """Events as the JSON cell of a row."""
    rows = ([e.before, e.code, None if math.isnan(e.value) else e.value, e.unit] for e in events)
    return json.dumps(list(rows), separators=(",", ":"))


def read_cell(cell: str) -> list[Event]:
    """Events of a row's JSON cell; an empty cell has none."""
    rows = json.loads(cell) if cell else []
    return [Event(before, code, math.nan if value is None else value, unit) for before, code, value, unit in rows]


def read_events(path: str | Path, patient: str | None = None) -> pd.DataFrame:
    """A table of events with patient_id, study_id (empty: on the patient's clock), hour, code, value, unit.

    `patient` is whose events they are where the table does not say it.
    Errors: UserError for a missing file or column, an hour that is no number.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: no such table of events; {REMEDY}")
    table = read_csv_text(path, REMEDY) if path.suffix == ".csv" else read_parquet(path, REMEDY)
    table = table if patient is None else table.assign(patient_id=patient)
    clock = "hours" if {"hours", "study_id"} <= set(table) else "hour"
    for column in ("patient_id", clock, "code"):
        if column not in table:
            raise UserError(f"{path}: column {column!r} is missing; {REMEDY}")
    hours = pd.to_numeric(table[clock], errors="coerce")
    if hours.isna().any():
        row = int(hours.isna().to_numpy().argmax())
        raise UserError(f"{path}: row {row + 1}: {clock} {table[clock].iloc[row]!r} is no number; correct it")
    return pd.DataFrame(
        {
            "patient_id": _words(table, "patient_id"),
            "study_id": _words(table, "study_id") if clock == "hours" else "",
            "hour": hours.astype(float),
            "code": _codes(table),
            "value": pd.to_numeric(table["value"], errors="coerce") if "value" in table else np.nan,
            "unit": _words(table, "unit"),
        }
    )


def _codes(table: pd.DataFrame) -> pd.Series:
    """Kind and name where a source has them: its codes are numbers that differ from hospital to hospital."""
    if not {"kind", "name"} <= set(table):
        return _words(table, "code")
    name = _words(table, "name")
    return (_words(table, "kind") + " " + name.where(name != "", _words(table, "code"))).str.strip()


def _words(table: pd.DataFrame, column: str) -> pd.Series:
    if column not in table:
        return pd.Series("", index=table.index)
    return table[column].astype(object).where(table[column].notna(), "").astype(str).str.strip()


class EventTable:
    """Events by patient, for the pairs of an index."""

    def __init__(self, table: pd.DataFrame) -> None:
        self.groups = {str(patient): rows for patient, rows in table.groupby("patient_id", sort=False)}

    def between(self, prior: Mapping, target: Mapping, gap: float, history: float) -> list[Event]:
        """Events from `history` hours before the prior to the target, oldest first, at most the last MOST.

        `prior` and `target` are index rows, `gap` the hours between them (NaN where only their order is known: then
        every event up to the target's own study counts).
        """
        rows = self.groups.get(str(target["patient_id"]))
        if rows is None:
            return []
        time = float(target.get("offset_days", math.nan)) * 24
        before = _before(rows, prior, target, time, gap)
        oldest = math.inf if math.isnan(gap) else gap + history
        kept = (before >= 0) & (before <= oldest)
        chosen = rows.assign(before=before.round(3))[kept].sort_values("before", ascending=False, kind="stable")
        chosen = chosen.drop_duplicates(["before", "code", "value"]).tail(MOST)
        columns = (chosen[name] for name in ("before", "code", "value", "unit"))
        return [Event(*values) for values in zip(*columns, strict=True)]


def _before(rows: pd.DataFrame, prior: Mapping, target: Mapping, time: float, gap: float) -> pd.Series:
    """Hours before the target; NaN for events that lie on the clock of a study of neither image."""
    studies = rows["study_id"]
    before = pd.Series(np.nan, index=rows.index)
    before = before.mask(studies == "", time - rows["hour"])
    before = before.mask((studies != "") & (studies == str(prior.get("study_id"))), gap - rows["hour"])
    return before.mask((studies != "") & (studies == str(target.get("study_id"))), 0 - rows["hour"])


def vocabulary(cells: Sequence[str], most: int) -> Vocabulary:
    """The most frequent codes of training rows with unit, median and robust scale (inter-quartile range / 1.349).

    Errors: UserError for a code with two units.
    """
    events = {event for cell in dict.fromkeys(cells) for event in read_cell(cell)}
    table = pd.DataFrame(
        [(e.code, e.value, e.unit) for e in sorted(events, key=repr)], columns=["code", "value", "unit"]
    )
    found: Vocabulary = {}
    frequent = table["code"].value_counts().sort_index().sort_values(ascending=False, kind="stable").index[:most]
    for code in sorted(frequent):
        rows = table[table["code"] == code]
        units = sorted(set(rows["unit"]) - {""})
        if len(units) > 1:
            raise UserError(f"event {code}: units {units[0]!r} and {units[1]!r}; give one code one unit")
        values = rows["value"].dropna().to_numpy()
        found[code] = {"unit": units[0] if units else "", **_scale(values)}
    return found


def _scale(values: np.ndarray) -> dict[str, float]:
    if not len(values):
        return {"centre": 0.0, "scale": 1.0}
    low, centre, high = np.quantile(values, (0.25, 0.5, 0.75))
    scale = (high - low) / 1.349 or abs(centre) or 1.0
    return {"centre": float(centre), "scale": float(scale)}


def check_events(events: Sequence[Event], gap: float, known: Mapping[str, Mapping]) -> None:
    """Errors: UserError for too many events, an event after the target or a unit that is not the code's."""
    if len(events) > MOST:
        raise UserError(f"events: {len(events)} of them; a model reads {MOST}, leave the oldest out")
    for event in events:
        if event.before < 0:
            raise UserError(f"event {event.code}: {-event.before:g} hours after the predicted image; leave it out")
        unit = known.get(event.code, {}).get("unit", event.unit)
        if event.unit != unit and not math.isnan(event.value) and (event.unit or event.value):
            raise UserError(f"event {event.code}: unit {event.unit!r}; this model knows it in {unit!r}, convert it")
