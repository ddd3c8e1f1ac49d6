"""A plan: a Parquet table of images to draw, one row an image."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from gen.errors import UserError

from .request import Item

ID = r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}"  # a file's name everywhere; a dot would end a WebDataset key
LARGEST_SEED = 2**63 - 1
OLDEST = 120  # years
VIEWS, SEXES = ("", "PA", "AP", "AP SUPINE", "LATERAL", "UNKNOWN"), ("", "M", "F")
SCHEMA = pa.schema(
    [
        pa.field("id", pa.string()),
        pa.field("prompt", pa.string()),
        pa.field("view", pa.string()),
        pa.field("sex", pa.string()),
        pa.field("age", pa.float32()),
        pa.field("findings", pa.string()),
        pa.field("seed", pa.int64()),
        pa.field("source", pa.string()),
    ]
)
NEEDED = ("id", "prompt", "seed")
CHUNK = 4096  # rows that are Python objects at a time


class Plan:
    """The rows of a plan, as items whenever they are wanted."""

    def __init__(self, table: pa.Table) -> None:
        self.table = table

    def __len__(self) -> int:
        return self.table.num_rows

    @property
    def ids(self) -> list[str]:
        """Every image's id, in order."""
        return self.table["id"].to_pylist()

    def items(self, rows: Sequence[int]) -> Iterator[Item]:
        """The images of some rows, a chunk of them in memory at a time."""
        for start in range(0, len(rows), CHUNK):
            for row in self.table.take(rows[start : start + CHUNK]).to_pylist():
                yield Item(**row)

    def fingerprint(self, rows: int | None = None) -> str:
        """SHA-256 of what the first rows ask for; the same for a plan that goes on after them."""
        digest = hashlib.sha256()
        table = self.table.slice(0, rows)
        for start in range(0, table.num_rows, CHUNK):
            digest.update(repr(table.slice(start, CHUNK).to_pydict()).encode())
        return digest.hexdigest()[:32]


def read_plan(source: Path | pa.NativeFile, name: str = "") -> Plan:
    """Read and check a plan; columns that are missing besides id, prompt and seed are empty.

    Errors: UserError naming the plan, the row (1 is the first) and the column.
    """
    name = name or str(source)
    if isinstance(source, Path) and not source.is_file():
        raise UserError(f"{name}: no such plan; make one with cxr-sample plan")
    try:
        table = pq.read_table(source)
        table.validate(full=True)  # text that is no UTF-8 would raise in the middle of a run
    except (pa.ArrowException, OSError, ValueError) as error:
        raise UserError(
            f"{name}: not a readable Parquet table ({_line(error)}); make it with cxr-sample plan"
        ) from None
    return Plan(_checked(table, name))


def _checked(table: pa.Table, name: str) -> pa.Table:
    for column in NEEDED:
        if column not in table.column_names:
            have = ", ".join(table.column_names) or "none"
            raise UserError(f"{name}: column {column!r} is missing (found: {have}); make the plan with cxr-sample plan")
    columns = [_column(table, field, name) for field in SCHEMA]
    table = pa.Table.from_arrays(columns, schema=SCHEMA)
    if not table.num_rows:
        raise UserError(f"{name}: the plan has no rows")
    _check_values(table, name)
    return table


def _column(table: pa.Table, field: pa.Field, name: str) -> pa.ChunkedArray:
    text = pa.types.is_string(field.type)
    if field.name not in table.column_names:
        return pa.chunked_array([pa.nulls(table.num_rows, field.type)]).fill_null("") if text else _nulls(table, field)
    try:
        column = table[field.name].cast(field.type)
    except (pa.ArrowException, ValueError) as error:
        raise UserError(f"{name}: column {field.name!r} does not hold {field.type} values ({_line(error)})") from None
    if pa.types.is_floating(field.type):
        return pc.if_else(pc.is_nan(column), pa.scalar(None, field.type), column)
    return column.fill_null("") if text else column


def _nulls(table: pa.Table, field: pa.Field) -> pa.ChunkedArray:
    return pa.chunked_array([pa.nulls(table.num_rows, field.type)])


def _check_values(table: pa.Table, name: str) -> None:
    age = table["age"]
    wrong = {
        "id": (pc.invert(pc.match_substring_regex(table["id"], f"^{ID}$")), "1 to 100 letters, digits, - and _"),
        "prompt": (pc.equal(pc.utf8_trim_whitespace(table["prompt"]), ""), "some words"),
        "seed": (pc.fill_null(pc.less(table["seed"], 0), True), f"a whole number from 0 to {LARGEST_SEED}"),
        "view": (pc.invert(pc.is_in(table["view"], pa.array(VIEWS))), f"one of {', '.join(VIEWS[1:])} or empty"),
        "sex": (pc.invert(pc.is_in(table["sex"], pa.array(SEXES))), "M, F or empty"),
        "age": (
            pc.invert(pc.fill_null(pc.and_(pc.greater_equal(age, 0), pc.less_equal(age, OLDEST)), True)),
            f"years from 0 to {OLDEST}, or empty",
        ),
    }
    for column, (mask, rule) in wrong.items():
        row = pc.index(mask, True).as_py()
        if row >= 0:
            value = table[column][row].as_py()
            raise UserError(f"{name}: row {row + 1}: column {column} has {_shown(value)}; it takes {rule}")
    _check_unique(table, name)


def _check_unique(table: pa.Table, name: str) -> None:
    counts = pc.value_counts(table["id"])
    if len(counts) < table.num_rows:
        twice = counts.filter(pc.greater(counts.field("counts"), 1))[0]["values"].as_py()
        raise UserError(f"{name}: id {twice!r} is there twice; give every image an id of its own")


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _line(error: Exception) -> str:
    return re.sub(r"\s+", " ", str(error))[:120]
