"""A small set: items in; image files, their records and manifest.csv out; resumed by running it again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .claims import hold
from .given import BLANK, check_model
from .loop import Loop
from .manifest import COLUMNS, CsvLedger, Row, check_same_run, intact, read_manifest
from .models import Painter, settings_of
from .progress import Bar
from .request import Item
from .store import Folder
from .writers import Loose, loose_writer

if TYPE_CHECKING:
    from gen import CXRPipeline


def draw(
    pipeline: CXRPipeline,
    items: Sequence[Item],
    out: Path,
    steps: int | None = None,
    guidance: float | None = None,
    batch_size: int = 8,
    replace_others: bool = False,
    format_: str = "png",
) -> list[Row]:
    """Draw what is not yet in `out`; the manifest is written after every batch.

    `replace_others` draws over images of other settings. Returns the manifest's rows in the order of the items.
    Errors: UserError for a folder that holds another run; SystemExit 130 or 143 after a signal.
    """
    check_model(pipeline, [item.given for item in items])
    settings = settings_of(pipeline, steps, guidance)
    store = Folder(out)
    writer = loose_writer(format_, store)
    rows = _kept(items, settings, writer, out, replace_others)
    store.make()
    with hold(out), Bar(len(items), len(rows)) as bar:
        ledger = CsvLedger(out, items, settings, rows)
        painter = Painter(pipeline, settings, batch_size, padded=False)
        loop = Loop(painter, settings, writer, writer, ledger, watchers=[bar])
        interrupt = loop.run((item, 0) for item in items if writer.name(item.id) not in rows)
    if len(rows) < len(items):
        interrupt.end(f"{len(rows)} of {len(items)} images are done")
    return [rows[writer.name(item.id)] for item in items]


def _kept(items: Sequence[Item], settings: Row, writer: Loose, out: Path, replace_others: bool) -> dict[str, Row]:
    """Rows of images that are there already, with the table's present labels and extra columns."""
    fixed = BLANK | settings
    expected = {writer.name(i.id): {**fixed, "prompt": i.prompt, "seed": str(i.seed), **i.given.cells()} for i in items}
    rows = {name: BLANK | row for name, row in read_manifest(out).items()}
    if replace_others:
        rows = {name: row for name, row in rows.items() if name in expected and expected[name].items() <= row.items()}
    check_same_run(out, rows, expected)
    there = {writer.name(item.id): item for item in items}
    there = {name: item for name, item in there.items() if name in rows and intact(out, rows[name])}
    return {name: {c: rows[name][c] for c in COLUMNS} | _from_table(item) for name, item in there.items()}


def _from_table(item: Item) -> Row:
    labels = {} if item.findings is None else {"findings": item.findings}
    return {**labels, **item.extra}
