"""The index: one table of radiographs, one row an image, as Parquet or CSV.

| column | values |
|---|---|
| image | an address of `gen.data.addresses`: a path, a URL, or a part of a shard |
| patient_id, study_id | any text; a patient is in one split only |
| view | PA, AP, AP SUPINE, LATERAL, UNKNOWN |
| sex | M, F or empty |
| age | years, NaN unknown |
| age_group | child (under 13), adult or empty |
| findings | labels of gen.data.vocabulary joined by ";", "No Finding", or empty where nothing is known |
| report | free text |
| split | train, val, test |
| angle | degrees of the beam around the patient, 0 PA, 90 left lateral, 180 AP, NaN unknown |
| offset_days | days since the patient's first image or admission, NaN unknown |
| followup_number | order of the patient's images where a source tells no days, NaN unknown |
| source, licence | where the image comes from and under which terms |
| may_ship | whether the licence lets copies, and weights trained on it, be passed on |
| inverted | the file is stored with dark bone |
| width, height | pixels |

Further columns are kept. `soft`, the bone-free image of a pair, is an address like `image`. Paths are relative to the
index file on disk, absolute once read.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from gen.data.addresses import URL, is_url, present
from gen.data.tables import parsing, read_csv_text, read_parquet
from gen.errors import UserError
from gen.files import forget_abandoned, replacing

REQUIRED = ("image", "patient_id", "split")
TEXT = ("image", "patient_id", "study_id", "view", "sex", "age_group", "findings", "report", "split")
TEXT += ("source", "licence", "soft")
NUMBERS = ("age", "angle", "offset_days", "followup_number", "width", "height")
FLAGS = ("may_ship", "inverted")
PATHS = ("image", "soft")
COLUMNS = ("image", "patient_id", "study_id", "view", "sex", "age", "age_group", "findings", "report", "split")
COLUMNS += ("offset_days", "source", "licence", "may_ship", "inverted", "width", "height")
ALLOWED = {
    "view": ("PA", "AP", "AP SUPINE", "LATERAL", "UNKNOWN"),
    "sex": ("M", "F", ""),
    "age_group": ("child", "adult", ""),
    "split": ("train", "val", "test"),
}
IDENTITY = ("source", "patient_id", "study_id", "view", "sex", "age", "findings", "split", "inverted")
FLAG_WORDS: dict[str, bool] = dict.fromkeys(("1", "1.0", "true", "yes", "y"), True)
FLAG_WORDS |= dict.fromkeys(("0", "0.0", "false", "no", "n", ""), False)
CHILD_BELOW = 13  # years
OLDEST = 130  # years


def read_index(path: str | Path, splits: Sequence[str] | None = None) -> pd.DataFrame:
    """Read an index with absolute image paths, typed columns and only the splits asked for.

    Columns that the file lacks stay absent, columns of its own are kept.
    Errors: UserError for a missing or unreadable file, a missing column, a wrong value, a patient in two splits.
    """
    table = load_table(path)
    validate(table, path)
    if splits is not None:
        table = table.loc[table["split"].isin(list(splits))]
    pa.default_memory_pool().release_unused()  # the tables that came before this one
    return table.reset_index(drop=True)


def load_table(path: str | Path) -> pd.DataFrame:
    """An index as it is, typed and with absolute image paths, for `check_index` to judge."""
    path = Path(path)
    table = typed(_read_table(path), path)
    for column in table.columns.intersection(PATHS):
        table[column] = _absolute(table[column], path.parent.absolute())
    return table


def write_index(table: pd.DataFrame, path: str | Path) -> None:
    """Write an index atomically; image paths are stored relative to its folder."""
    path = Path(path)
    stored = table.copy()
    for column in stored.columns.intersection(PATHS):
        stored[column] = [relative_to(image, path.parent.absolute()) if image else "" for image in stored[column]]
    forget_abandoned(path)
    with replacing(path) as temporary:
        if _is_csv(path):
            stored.to_csv(temporary, index=False)
        else:
            stored.to_parquet(temporary, index=False)


def typed(table: pd.DataFrame, name: str | Path = "index") -> pd.DataFrame:
    """Give every known column its type: text without missing values, float numbers, bool flags.

    Errors: UserError naming the row (1 is the first) and column of a value that does not fit.
    """
    table = table.copy()
    for column in table.columns.intersection(TEXT):
        with parsing(name, f"column {column}", "it must hold text"):
            table[column] = table[column].astype("str").where(table[column].notna(), "")
    for column in table.columns.intersection(NUMBERS):
        if table[column].dtype.kind not in "fiu":
            table[column] = _parsed(table[column], _number, f"{name}: column {column} must hold numbers")
    for column in table.columns.intersection(FLAGS):
        if table[column].dtype.kind != "b":
            table[column] = _parsed(table[column], _flag, f"{name}: column {column} must hold yes or no")
    return table


def check_index(table: pd.DataFrame, files: bool = True) -> list[str]:
    """Every problem of a typed index, one line each; rows count from 1. `files` also looks for the image files."""
    missing = [column for column in REQUIRED if column not in table]
    if missing:
        have = ", ".join(map(str, table.columns)) or "none"
        return [f"column {column!r} is missing (found: {have}); add it or map it with --map" for column in missing]
    if table.empty:
        return ["the table has no rows; build it again from a folder with images"]
    problems = _wrong_values(table) + _leaks(table) + _duplicates(table)
    return problems + (_absent_files(table) if files else [])


def validate(table: pd.DataFrame, name: str | Path = "index", files: bool = False) -> None:
    """Raise UserError with the first problem of an index and the number of the others."""
    problems = check_index(table, files)
    if problems:
        rest = f" (and {len(problems) - 1} more: cxr-index check lists them)" if len(problems) > 1 else ""
        raise UserError(f"{name}: {problems[0]}{rest}")


def assign_splits(
    table: pd.DataFrame, seed: int = 0, fractions: tuple[float, float, float] = (0.8, 0.1, 0.1)
) -> pd.DataFrame:
    """Add the column `split`, drawn a patient from a hash of its id: new patients never move the old ones.

    `fractions` of train, val and test add up to 1.
    """
    if abs(sum(fractions) - 1) > 1e-6 or min(fractions) < 0:
        raise ValueError(f"fractions must be positive and add up to 1, got {fractions}")
    patients = table["patient_id"].astype(str)
    draws = {patient: _uniform(f"{seed}/{patient}") for patient in patients.unique()}
    train, val, _ = fractions
    names = {p: "train" if u < train else "val" if u < train + val else "test" for p, u in draws.items()}
    return table.assign(split=[names[patient] for patient in patients])


def fingerprint(table: pd.DataFrame) -> str:
    """SHA-256 of what the rows are (file names, ids, labels, splits), whatever folder they lie in."""
    content = pd.DataFrame({"file": [Path(image).name for image in table["image"]]})
    for column in IDENTITY:
        content[column] = table[column].to_numpy() if column in table else ""
    return hashlib.sha256(content.to_csv(index=False).encode()).hexdigest()


def _read_table(path: Path) -> pd.DataFrame:
    if not path.is_file():
        raise UserError(f"{path}: no such index; build one with cxr-index build")
    return (read_csv_text if _is_csv(path) else read_parquet)(path, "build it again")


def _absolute(images: pd.Series, folder: Path) -> pd.Series:
    """Paths made absolute, URLs left; a column at a time, for a million rows."""
    inside = images.str.startswith(os.sep) | (images == "") | images.str.match(URL)
    images = images.where(inside, f"{folder}{os.sep}" + images)
    crooked = images.str.contains(r"/\.{0,2}/", regex=True) & ~images.str.match(URL)  # //, /./ and /../
    return images.where(~crooked, images[crooked].map(os.path.normpath))


def _is_csv(path: Path) -> bool:
    return path.suffix.lower() in (".csv", ".txt")


def relative_to(image: str, folder: Path) -> str:
    """A path as files beside an index store it: relative to their folder; a URL as it is."""
    if is_url(image):
        return image
    try:
        return Path(os.path.relpath(image, folder)).as_posix()
    except ValueError:  # another drive
        return str(image)


def _parsed(values: Iterable, parse: Callable[[str], float | bool], rule: str) -> list:
    parsed = []
    for row, value in enumerate(values, start=1):
        text = "" if pd.isna(value) else str(value).strip()
        try:
            parsed.append(parse(text))
        except (KeyError, ValueError):
            raise UserError(f"{rule}; row {row} has {text!r}") from None
    return parsed


def _number(text: str) -> float:
    return float(text or "nan")


def _flag(text: str) -> bool:
    return FLAG_WORDS[text.lower()]


def _wrong_values(table: pd.DataFrame) -> list[str]:
    problems = [f"row {row}: {column} is empty" for column in REQUIRED for row in _rows(table[column] == "")]
    for column, allowed in ALLOWED.items():
        if column in table:
            choices = ", ".join(value or "(empty)" for value in allowed)
            for row in _rows(~table[column].isin(allowed) & ~((table[column] == "") & (column in REQUIRED))):
                problems.append(f"row {row}: {column} {table[column].iloc[row - 1]!r} is none of {choices}")
    if "age" in table:
        wrong = table["age"].notna() & ~table["age"].between(0, OLDEST)
        problems += [f"row {row}: age {table['age'].iloc[row - 1]:g} is not within 0..{OLDEST}" for row in _rows(wrong)]
    return problems


def _leaks(table: pd.DataFrame) -> list[str]:
    pairs = table[["patient_id", "split"]].drop_duplicates()
    divided = pairs[pairs["patient_id"].duplicated(keep=False)].groupby("patient_id")["split"]
    return [
        f"patient {patient!r} is in the splits {' and '.join(sorted(names))}; keep a patient in one split"
        for patient, names in divided
    ]


def _duplicates(table: pd.DataFrame) -> list[str]:
    rows = _rows(table["image"].duplicated() & (table["image"] != ""))
    return [f"row {row}: image {table['image'].iloc[row - 1]} is listed before; keep one row an image" for row in rows]


def _absent_files(table: pd.DataFrame) -> list[str]:
    images = table["image"].to_numpy()
    absent = (images != "") & ~present(images)
    return [f"row {row}: no such image file {images[row - 1]}" for row in _rows(absent)]


def _rows(wrong: pd.Series) -> list[int]:
    return (np.flatnonzero(np.asarray(wrong, dtype=bool)) + 1).tolist()


def _uniform(text: str) -> float:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") / 2**64
