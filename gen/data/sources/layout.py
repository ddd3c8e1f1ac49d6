"""Steps that most adapters share: find and read a set's tables, place its images, keep or draw its splits."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from gen.data.images import IMAGE_SUFFIXES
from gen.data.index import COLUMNS, OLDEST, assign_splits
from gen.data.sources.values import in_index_columns
from gen.errors import UserError

CHEXPERT_LABELS = ("Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Enlarged Cardiomediastinum", "Fracture")
CHEXPERT_LABELS += ("Lung Lesion", "Lung Opacity", "No Finding", "Pleural Effusion", "Pleural Other", "Pneumonia")
CHEXPERT_LABELS += ("Pneumothorax", "Support Devices")
VAL_OF_TRAIN = 0.125  # of the patients of an official training set that has no validation set
GUARDED = {"train": 0, "val": 1, "test": 2}


def find(folder: Path, *patterns: str) -> Path:
    """The first file that matches; UserError naming the patterns where none does."""
    found = find_any(folder, *patterns)
    if found is None:
        raise UserError(f"{folder}: {' or '.join(patterns)} not found; give the folder as the source distributes it")
    return found


def find_any(folder: Path, *patterns: str) -> Path | None:
    """The first file or folder that matches, or None."""
    return next((path for pattern in patterns for path in sorted(folder.glob(pattern))), None)


def read_csv(path: Path, columns: Sequence[str] = ()) -> pd.DataFrame:
    """A CSV (also .gz) as text without missing values; UserError where it or one of the columns is not there."""
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False, skipinitialspace=True)
    except (ValueError, OSError, EOFError) as error:
        raise UserError(f"{path}: not a readable CSV table ({str(error).splitlines()[0]}); download it again") from None
    table.columns = table.columns.str.strip()
    missing = [column for column in columns if column not in table]
    if missing:
        have = ", ".join(table.columns[:12])
        raise UserError(f"{path}: column {missing[0]!r} is missing (found: {have}); is this the official file?")
    return table


def images_by_name(folder: Path, suffixes: Sequence[str] = IMAGE_SUFFIXES, stem: bool = False) -> dict[str, str]:
    """File name (or stem) -> absolute path of every image below a folder."""
    paths = (path for path in folder.rglob("*") if path.suffix.lower() in suffixes)
    return {path.stem if stem else path.name: str(path.absolute()) for path in paths}


def placed(names: Iterable[str], images: Mapping[str, str], folder: Path) -> list[str]:
    """Path of each named image; one that is not there keeps the name below the folder, for the check to report."""
    return [images.get(name, str(folder.absolute() / name)) for name in names]


def one_hot_findings(table: pd.DataFrame, labels: Mapping[str, str] | Sequence[str]) -> tuple[list[str], list[str]]:
    """Columns with 1, 0, -1 or blank as ";"-joined findings (1) and uncertain findings (-1) of each row."""
    names = labels if isinstance(labels, Mapping) else dict(zip(labels, labels, strict=True))
    values = np.stack([pd.to_numeric(table[column], errors="coerce") for column in names], axis=1)
    titles = np.array(list(names.values()), dtype=object)
    return [";".join(titles[row == 1]) for row in values], [";".join(titles[row == -1]) for row in values]


def days_from_first(patients: pd.Series, times: pd.Series) -> pd.Series:
    """Days since each patient's first image, parts of days kept; NaN where a time is unknown."""
    first = times.groupby(patients).transform("min")
    return ((times - first).dt.total_seconds() / 86400).round(4)


def plausible_ages(ages: Iterable[str | float]) -> list[str]:
    """Ages as text, blank where they lie outside 0..130 years (NIH has one of 413)."""
    years = pd.Series(pd.to_numeric(list(ages), errors="coerce"))
    return [f"{value:g}" if 0 <= value <= OLDEST else "" for value in years]


def with_validation(table: pd.DataFrame) -> pd.DataFrame:
    """Draw a validation set from the patients of an official training set, by hash; other splits stay."""
    drawn = assign_splits(table, fractions=(1 - VAL_OF_TRAIN, VAL_OF_TRAIN, 0.0))["split"]
    return table.assign(split=table["split"].where(table["split"] != "train", drawn))


def patients_together(table: pd.DataFrame) -> pd.DataFrame:
    """Put a patient whom the official lists divide wholly into the more guarded split: test, then val."""
    rank = table["split"].map(GUARDED).groupby(table["patient_id"]).transform("max")
    names = {number: name for name, number in GUARDED.items()}
    return table.assign(split=rank.map(names))


def complete(table: pd.DataFrame, source: str, licence: str = "", may_ship: bool = False) -> pd.DataFrame:
    """Text columns under index names -> typed index rows of a source; columns of its own follow.

    A licence and may_ship that the table has are kept. Without `split`, patients are divided 80/10/10 by hash.
    """
    table = table.reset_index(drop=True)
    table["source"] = source
    defaults = {"licence": licence, "may_ship": "yes" if may_ship else "no"}
    table = table.assign(**{name: value for name, value in defaults.items() if name not in table})
    if "split" not in table:
        table = assign_splits(table)
    own = [column for column in table.columns if column not in COLUMNS]
    return in_index_columns(table).join(table[own])
