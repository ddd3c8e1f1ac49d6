"""From folders to an index and the tables beside it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import pandas as pd

from gen.data.addresses import present
from gen.data.annotations import beside, write_boxes, write_events, write_masks
from gen.data.index import typed, validate, write_index
from gen.data.sources import SOURCES, detect, huggingface, mimic_cxr, webdataset
from gen.data.sources import folder as any_folder
from gen.data.sources.adapter import Tables
from gen.data.sources.folder import TableOf
from gen.data.sources.mimic_events import Window
from gen.errors import UserError
from gen.files import replacing

MAX_BAD_SHARE = 0.01
SHARDS = {"webdataset": webdataset.read, "huggingface": huggingface.read}


def build_index(
    source: str,
    places: Sequence[str | Path],
    out: Path,
    table_of: TableOf | None = None,
    *,
    ehr: Path | None = None,
    window: Window | None = None,
    may_ship_only: bool = False,
    max_bad_share: float = MAX_BAD_SHARE,
) -> tuple[pd.DataFrame, list[str]]:
    """Read a source (a name of SOURCES, `auto`, `folder`, or one of SHARDS), write the index, return it and its files.

    Boxes, masks and events go into files beside it, for the images and studies that the index keeps, and into
    `rejected` with their reasons the records of shards that cannot be used.
    Errors: UserError for unknown sources, options of another source, absent images unless `table_of.skip_missing`, a
    share of rejected records above `max_bad_share`, and whatever an index must not have (`gen.data.index.validate`).
    """
    table_of = table_of or TableOf()
    read = list(_read_all(source, places, table_of, ehr, window))
    table = typed(pd.concat([tables.rows for tables in read], ignore_index=True))
    if table_of.skip_missing:
        table = _present(table, out)
    if may_ship_only:
        table = table.loc[table["may_ship"]].reset_index(drop=True)
    aside = _put_aside([reject for tables in read for reject in tables.rejected], len(table), out, max_bad_share)
    validate(table, out, files=True)
    write_index(table, out)
    for name in ("boxes", "masks", "events"):  # those of an earlier build would point to other rows
        beside(out, name).unlink(missing_ok=True)
    return table, [str(out), *_write_beside(read, table, out), *aside]


def _read_all(
    source: str, places: Sequence[str | Path], table_of: TableOf, ehr: Path | None, window: Window | None
) -> Iterator[Tables]:
    if source not in SHARDS:
        yield from (_read(source, Path(place), table_of, ehr, window) for place in places)
        return
    if table_of.csv or ehr:
        raise UserError(f"--csv and --ehr belong to other sources than {source!r}")
    yield SHARDS[source]([str(place) for place in places], table_of.columns)


def _put_aside(rejected: Sequence[tuple[str, str]], kept: int, out: Path, share: float) -> list[str]:
    """Write down what a source could not use; UserError where it is more than a share of all."""
    path = beside(out, "rejected").with_suffix(".csv")
    path.unlink(missing_ok=True)
    if not rejected:
        return []
    with replacing(path) as temporary:
        pd.DataFrame(rejected, columns=["image", "reason"]).to_csv(temporary, index=False)
    total = kept + len(rejected)
    if len(rejected) > share * total:
        name, reason = rejected[0]
        raise UserError(
            f"{name}: {reason} ({len(rejected)} of {total} records cannot be used, --max-bad-share allows {share:g}; "
            f"{path} lists them)"
        )
    return [f"{path} ({len(rejected)} records left out)"]


def _read(source: str, folder: Path, table_of: TableOf, ehr: Path | None, window: Window | None) -> Tables:
    if source == "folder":
        if ehr:
            raise UserError("--ehr belongs to the source mimic_cxr, not to 'folder'")
        return Tables(any_folder.rows(folder, table_of.csv, table_of.columns, table_of.skip_missing))
    if table_of.csv or table_of.columns:
        raise UserError(f"--csv and --map belong to the source `folder`, not to {source!r}")
    name = detect(folder) if source == "auto" else source
    if name not in SOURCES:
        raise UserError(f"unknown source {name!r}; choose from {', '.join([*SOURCES, *SHARDS])}, auto, folder")
    if name == "mimic_cxr":
        return mimic_cxr.read(folder, ehr, window)
    if ehr:
        raise UserError(f"--ehr belongs to the source mimic_cxr, not to {name!r}")
    return SOURCES[name].read(folder)


def _present(table: pd.DataFrame, out: Path) -> pd.DataFrame:
    kept = table.loc[present(table["image"].to_numpy())].reset_index(drop=True)
    if kept.empty and len(table):
        raise UserError(f"{out}: none of the {len(table)} listed images is there (first: {table['image'].iloc[0]})")
    return kept


def _write_beside(read: Sequence[Tables], table: pd.DataFrame, out: Path) -> Iterator[str]:
    for parts, write in (([t.boxes for t in read], write_boxes), ([t.masks for t in read], write_masks)):
        found = [part.loc[part["image"].isin(table["image"])] for part in parts if part is not None]
        if found:
            yield str(write(pd.concat(found, ignore_index=True), out))
    events = [tables.events for tables in read if tables.events is not None]
    if events:
        path, rows = write_events(_of_studies(events, set(table["study_id"])), out)
        yield f"{path} ({rows} events)"


def _of_studies(events: Iterable[Iterable[pd.DataFrame]], studies: set[str]) -> Iterator[pd.DataFrame]:
    for parts in events:
        for part in parts:
            yield part.loc[part["study_id"].isin(studies)]
