"""From folders to an index and the tables beside it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import pandas as pd

from gen.data.annotations import beside, write_boxes, write_events, write_masks
from gen.data.index import typed, validate, write_index
from gen.data.sources import SOURCES, detect, mimic_cxr
from gen.data.sources import folder as any_folder
from gen.data.sources.adapter import Tables
from gen.data.sources.folder import TableOf
from gen.data.sources.mimic_events import Window
from gen.errors import UserError


def build_index(
    source: str,
    folders: Sequence[Path],
    out: Path,
    table_of: TableOf | None = None,
    *,
    ehr: Path | None = None,
    window: Window | None = None,
    may_ship_only: bool = False,
) -> tuple[pd.DataFrame, list[str]]:
    """Read folders of a source (a name of SOURCES, `auto`, `folder`), write the index, return it and the files written.

    Boxes, masks and events go into files beside it, for the images and studies that the index keeps.
    Errors: UserError for unknown sources, options of another source, absent images unless `table_of.skip_missing`, and
    whatever an index must not have (`gen.data.index.validate`).
    """
    table_of = table_of or TableOf()
    read = [_read(source, folder, table_of, ehr, window) for folder in folders]
    table = typed(pd.concat([tables.rows for tables in read], ignore_index=True))
    if table_of.skip_missing:
        table = _present(table, out)
    if may_ship_only:
        table = table.loc[table["may_ship"]].reset_index(drop=True)
    validate(table, out, files=True)
    write_index(table, out)
    for name in ("boxes", "masks", "events"):  # those of an earlier build would point to other rows
        beside(out, name).unlink(missing_ok=True)
    return table, [str(out), *_write_beside(read, table, out)]


def _read(source: str, folder: Path, table_of: TableOf, ehr: Path | None, window: Window | None) -> Tables:
    if source == "folder":
        if ehr:
            raise UserError("--ehr belongs to the source mimic_cxr, not to 'folder'")
        return Tables(any_folder.rows(folder, table_of.csv, table_of.columns, table_of.skip_missing))
    if table_of.csv or table_of.columns:
        raise UserError(f"--csv and --map belong to the source `folder`, not to {source!r}")
    name = detect(folder) if source == "auto" else source
    if name not in SOURCES:
        raise UserError(f"unknown source {name!r}; choose from {', '.join(SOURCES)}, auto, folder")
    if name == "mimic_cxr":
        return mimic_cxr.read(folder, ehr, window)
    if ehr:
        raise UserError(f"--ehr belongs to the source mimic_cxr, not to {name!r}")
    return SOURCES[name].read(folder)


def _present(table: pd.DataFrame, out: Path) -> pd.DataFrame:
    kept = table.loc[[os.path.isfile(image) for image in table["image"]]].reset_index(drop=True)
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
