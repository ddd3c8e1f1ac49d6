"""From the columns of any table to those of the index: by a user's --map, by usual names, by the names of findings."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import pandas as pd

from gen.data.index import COLUMNS, assign_splits
from gen.data.sources.layout import one_hot_findings, with_validation
from gen.data.sources.values import SPLITS, in_index_columns
from gen.data.vocabulary import known_names
from gen.errors import UserError

# column names of well-known tables (NIH, CheXpert, MIMIC-CXR, PadChest, DICOM headers), lower case, without separators
ALIASES = {
    "image": ("image", "imageindex", "path", "imagepath", "file", "filename", "imageid", "dicomid", "imgsavename"),
    "patient_id": ("patientid", "patient", "subjectid", "subject"),
    "study_id": ("studyid", "study", "studyinstanceuid"),
    "view": ("view", "viewposition", "projection", "ap/pa"),
    "sex": ("sex", "gender", "patientgender", "patientsex"),
    "age": ("age", "patientage"),
    "findings": ("findings", "findinglabels", "labels", "label", "finding"),
    "report": ("report", "impression", "text", "caption", "txt"),
    "split": ("split", "dataset", "fold"),
}
FLAGS = {"", "1", "1.0", "0", "0.0", "-1", "-1.0", "nan"}


def matched(name: object, raw: pd.DataFrame, columns: Mapping[str, str]) -> dict[str, str]:
    """Index column -> the table's column. Errors: UserError for a map to or from a column that does not exist."""
    have = ", ".join(raw.columns)
    for target, column in columns.items():
        if target not in COLUMNS:
            raise UserError(f"--map {target}={column}: {target!r} is no index column; choose from {', '.join(COLUMNS)}")
        if column not in raw:
            raise UserError(f"--map {target}={column}: {name} has no column {column!r}; it has {have}")
    plain = {"".join(column.lower().replace("_", " ").split()): column for column in reversed(raw.columns)}
    usual = {target: ALIASES.get(target, (target.replace("_", ""),)) for target in COLUMNS}
    found = {target: plain[alias] for target, names in usual.items() for alias in reversed(names) if alias in plain}
    return found | dict(columns)


def label_columns(raw: pd.DataFrame) -> dict[str, str]:
    """Columns named after a finding that hold nothing but 1, 0, -1 and blanks (the CheXpert style), and its label."""
    known = known_names()
    named = {column: known.get(" ".join(column.lower().replace("_", " ").split())) for column in raw.columns}
    return {column: label for column, label in named.items() if label and set(raw[column].str.strip()) <= FLAGS}


def renamed(name: object, raw: pd.DataFrame, columns: Mapping[str, str]) -> pd.DataFrame:
    """The table's columns that the index has, under the index's names, with findings from one-hot columns."""
    table = pd.DataFrame({target: raw[column] for target, column in matched(name, raw, columns).items()})
    labels = {} if "findings" in table else label_columns(raw)
    if labels:
        table["findings"], table["uncertain"] = one_hot_findings(raw, labels)
    return table


def as_text(value: object) -> str:
    """A value as an index's text: nothing for null, 1 and 0 for flags, lists joined by ";"."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, bool):
        return str(int(value))
    return ";".join(as_text(one) for one in value) if isinstance(value, list) else str(value)


def completed(table: pd.DataFrame, studies: Iterable[str], source: str) -> pd.DataFrame:
    """Typed index rows. `studies` stand in for absent study and patient ids: every image is then its own patient.

    Without a split, or with one for all, patients are split 80/10/10 by hash; without a validation set one is drawn
    from the patients of the training set.
    """
    table = table.assign(**{name: list(studies) for name in ("study_id", "patient_id") if name not in table})
    table = table.assign(source=source) if "source" not in table else table
    if "split" in table:
        words = table["split"].str.strip().str.lower()
        table = table.assign(split=words.replace(SPLITS))
    if "split" not in table or len(set(table["split"])) < 2:
        table = assign_splits(table)
    elif set(table["split"]) == {"train", "test"}:
        table = with_validation(table)
    return in_index_columns(table).join(table[table.columns.intersection(["uncertain"])])
