"""The many spellings of a view, a sex, an age or a split, as the index spells them."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pandas as pd

from gen.data.index import CHILD_BELOW, COLUMNS, typed
from gen.data.vocabulary import normalise_findings

VIEWS = {
    "PA": "PA",
    "POSTEROANTERIOR": "PA",
    "POSTERO ANTERIOR": "PA",
    "AP": "AP",
    "ANTEROPOSTERIOR": "AP",
    "ANTERO POSTERIOR": "AP",
    "AP ERECT": "AP",
    "AP SEMI ERECT": "AP",
    "AP SUPINE": "AP SUPINE",
    "AP HORIZONTAL": "AP SUPINE",
    "SUPINE": "AP SUPINE",
    "L": "LATERAL",
    "LL": "LATERAL",
    "RL": "LATERAL",
    "LAT": "LATERAL",
    "LATERAL": "LATERAL",
    "LEFT LATERAL": "LATERAL",
    "RIGHT LATERAL": "LATERAL",
    "XTABLE LATERAL": "LATERAL",
}
SEXES = {"M": "M", "MALE": "M", "MAN": "M", "F": "F", "FEMALE": "F", "WOMAN": "F", "W": "F"}
SPLITS = {"training": "train", "valid": "val", "validate": "val", "validation": "val", "dev": "val", "testing": "test"}
YEARS_PER_UNIT = {"Y": 1.0, "M": 1 / 12, "W": 7 / 365.25, "D": 1 / 365.25}


def view(value: str) -> str:
    """A view's name in the index; a frontal or unknown one is UNKNOWN."""
    return VIEWS.get(" ".join(re.split(r"[\s_-]+", value.strip().upper())), "UNKNOWN")


def sex(value: str) -> str:
    """M, F or empty."""
    return SEXES.get(value.strip().upper(), "")


def age(value: str) -> float:
    """Years from a number or a DICOM age ("064Y", "18M"); NaN where there is none."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([YMWD]?)\s*", value, re.I)
    return float(match[1]) * YEARS_PER_UNIT[match[2].upper() or "Y"] if match else math.nan


def age_group(years: float) -> str:
    """child, adult, or empty where the age is unknown."""
    if math.isnan(years):
        return ""
    return "child" if years < CHILD_BELOW else "adult"


def split(value: str) -> str:
    """train, val or test; other words stay, for the index check to name."""
    return SPLITS.get(value.strip().lower(), value.strip().lower())


NORMALISERS = {"view": view, "sex": sex, "age": age, "split": split}


def in_index_columns(table: pd.DataFrame, name: str | Path = "index") -> pd.DataFrame:
    """Text columns under index names -> all index columns in their order, normalised and typed.

    Errors: UserError naming the table, the row and the column of a value that does not fit.
    """
    table = table.copy()
    for column, normalise in NORMALISERS.items():
        if column in table:
            table[column] = [normalise(value) for value in table[column]]
    if "findings" in table:
        table["findings"] = [";".join(normalise_findings(value)) for value in table["findings"]]
    if "age" in table and "age_group" not in table:
        table["age_group"] = [age_group(years) for years in table["age"]]
    if "view" not in table:
        table["view"] = "UNKNOWN"
    return typed(table.reindex(columns=list(COLUMNS)), name)
