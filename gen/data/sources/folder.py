"""Any folder of radiographs, with a CSV whose columns are mapped to the index's, or with none."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import pandas as pd

from gen.data.addresses import is_url
from gen.data.images import IMAGE_SUFFIXES
from gen.data.index import assign_splits
from gen.data.sources.mapping import renamed
from gen.data.sources.values import in_index_columns
from gen.data.tables import read_csv_text
from gen.errors import UserError


@dataclass(frozen=True)
class TableOf:
    """What a user says about a folder's table: the CSV, which of its columns are whose, and absent images left out."""

    csv: Path | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    skip_missing: bool = False


def rows(
    folder: Path, csv: Path | None = None, columns: Mapping[str, str] | None = None, skip_missing: bool = False
) -> pd.DataFrame:
    """Index rows of a folder's images.

    `columns` maps index columns to the CSV's; columns not named there are matched by their usual names. Without a
    patient column every image counts as a patient; without a split column patients are split 80/10/10 by hash.
    Errors: UserError for unknown columns, and for images that the CSV lists and the folder lacks unless `skip_missing`.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; give the folder that holds the images")
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES)
    if not files and csv is None:
        raise UserError(f"{folder}: holds no images ({', '.join(IMAGE_SUFFIXES)})")
    table = _from_files(files) if csv is None else _from_csv(csv, columns or {}, folder, files, skip_missing)
    if "patient_id" not in table:
        table["patient_id"] = [_below(image, folder) for image in table["image"]]
    if "study_id" not in table:
        table["study_id"] = _studies(table["image"], folder)
    if "source" not in table:
        table["source"] = folder.absolute().name
    if "split" not in table:
        table = assign_splits(table)
    return in_index_columns(table, csv or folder).join(table[table.columns.intersection(["uncertain"])])


def _from_files(files: list[Path]) -> pd.DataFrame:
    return pd.DataFrame({"image": [str(path.absolute()) for path in files]})


def _below(image: str, folder: Path) -> str:
    return image if is_url(image) else Path(image).relative_to(folder.absolute()).as_posix()


def _studies(images: Iterable[str], folder: Path) -> list[str]:
    """File names without suffix, and with their folders where a name occurs twice."""
    names = [PurePosixPath(_below(image, folder)).with_suffix("") for image in images]
    stems = [name.name for name in names]
    return stems if len(set(stems)) == len(stems) else [str(name) for name in names]


def _from_csv(
    csv: Path, columns: Mapping[str, str], folder: Path, files: list[Path], skip_missing: bool
) -> pd.DataFrame:
    if not csv.is_file():
        raise UserError(f"{csv}: no such file; give the table with --csv")
    raw = read_csv_text(csv, "save it as CSV in UTF-8")
    table = renamed(csv, raw, columns)
    if "image" not in table:
        have = ", ".join(raw.columns)
        raise UserError(f"{csv}: no column with image names (found: {have}); name it with --map image=COLUMN")
    table["image"] = _located(list(table["image"]), folder, files, csv, skip_missing)
    return table.loc[table["image"] != ""].reset_index(drop=True)


def _located(names: list[str], folder: Path, files: list[Path], csv: Path, skip_missing: bool) -> list[str]:
    """Absolute path of each named image; empty where absent.

    Names are URLs, which stay, or relative paths, with or without folders before this one, file names or names without
    suffix; a name that several files have places nothing.
    """
    by_name = {path.relative_to(folder).as_posix(): str(path.absolute()) for path in files}
    for kind in ("name", "stem"):
        counts = Counter(getattr(path, kind) for path in files)
        by_name |= {getattr(p, kind): str(p.absolute()) for p in files if counts[getattr(p, kind)] == 1}
    places = [name if is_url(name) else _place(PurePosixPath(name.strip()).parts, by_name) for name in names]
    absent = [row for row, place in enumerate(places) if not place]
    if absent and (not skip_missing or len(absent) == len(places)):
        raise UserError(
            f"{csv}: {len(absent)} of {len(places)} images are not under {folder} (row {absent[0] + 1}: "
            f"{names[absent[0]]!r}); correct the folder, or leave such rows out with --skip-missing"
        )
    return places


def _place(parts: Sequence[str], by_name: Mapping[str, str]) -> str:
    """The file of the longest ending of a path that is known."""
    endings = ("/".join(parts[start:]) for start in range(len(parts)))
    return next((by_name[ending] for ending in endings if ending in by_name), "")
