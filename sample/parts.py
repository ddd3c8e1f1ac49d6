"""The manifest of a set: Parquet parts, each written once and whole, that together say what has been drawn.

| column | values |
|---|---|
| id, try | the plan's image and its how-manieth drawing, from 0 |
| status | accepted, rejected (drawn again), given up (rejected at the last try) |
| prompt, view, sex, age, findings, source | the condition |
| seed | of this drawing |
| model, model_hash, config_hash | what drew it |
| file, member | where it lies; member inside a tar or Parquet file, else empty |
| format, size, sha256 | of the image's own bytes |
| file_size | bytes of the whole file |
| verdicts | JSON: {gate: {"passed": ..., "score": ..., "reason": ...}} |
| batch | images a call of the model |
| time | UTC |
| run | number of the run that drew it: of two rows for one id and try the higher one counts |
"""

from __future__ import annotations

import io
import secrets
from collections.abc import Callable, Sequence
from contextlib import suppress

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from gen.errors import UserError

from .row import Row
from .split import Shard
from .store import Store

FOLDER = "manifest"
FAN = 64  # parts that become one: after n batches there are at most FAN * log(n) of them
KEYS = ("id", "try", "status", "run")

TYPES: dict[str, pa.DataType] = {
    **dict.fromkeys(("id", "status", "prompt", "view", "sex"), pa.string()),
    "age": pa.float32(),
    **dict.fromkeys(("findings", "source"), pa.string()),
    "seed": pa.int64(),
    **dict.fromkeys(("model", "model_hash", "config_hash", "file", "member", "format"), pa.string()),
    "size": pa.int64(),
    "file_size": pa.int64(),
    "sha256": pa.string(),
    "verdicts": pa.string(),
    "try": pa.int16(),
    "batch": pa.int16(),
    "run": pa.int32(),
    "time": pa.string(),
}
SCHEMA = pa.schema(list(TYPES.items()))


class Parts:
    """The manifest that one worker writes; any number of workers share a folder."""

    def __init__(self, store: Store, shard: Shard, run: int) -> None:
        self.store, self.run = store, run
        # the token keeps workers apart where no lock does
        self.stem = f"{run:05d}-{shard.number}of{shard.count}-{secrets.token_hex(4)}"
        self._levels: list[list[str]] = []
        self._number = 0

    def add(self, rows: Sequence[Row]) -> None:
        """Write rows as one new part, in time that does not grow with the rows before."""
        if rows:
            self._write(pa.Table.from_pylist([{**row, "run": self.run} for row in rows], schema=SCHEMA), level=0)

    def close(self) -> None:
        """Put this worker's parts together."""
        names = [name for level in self._levels for name in level]
        if len(names) > 1:
            self._merge(names, len(self._levels))

    def _write(self, table: pa.Table, level: int) -> None:
        name = f"{FOLDER}/{self.stem}-{self._number:06d}.parquet"
        self._number += 1
        self.store.write(name, table_bytes(table))
        self._levels += [[] for _ in range(level + 1 - len(self._levels))]
        self._levels[level].append(name)
        if len(self._levels[level]) == FAN:
            self._merge(self._levels[level], level + 1)

    def _merge(self, names: list[str], level: int) -> None:
        """One part for many. Killed halfway, rows are there twice, which readers mind not."""
        merged, tables = list(names), [SCHEMA_EMPTY]
        for name in merged:
            with suppress(FileNotFoundError):  # a worker that found the set complete has put it elsewhere
                tables.append(read_part(self.store, name))
        table = pa.concat_tables(tables)
        for below in self._levels:
            below[:] = [name for name in below if name not in merged]
        self._write(table, level)
        for name in merged:
            self.store.delete(name)


def table_bytes(table: pa.Table) -> bytes:
    """A table as a Parquet file's bytes."""
    file = io.BytesIO()
    pq.write_table(table, file, compression="zstd")
    return file.getvalue()


def read_part(store: Store, name: str, columns: Sequence[str] | None = None) -> pa.Table:
    """One part's rows.

    Errors: UserError when it is not a part of a manifest; FileNotFoundError when a merger has just removed it.
    """
    data = store.read(name)
    try:
        table = pq.read_table(io.BytesIO(data), columns=None if columns is None else list(columns))
        table.validate(full=True)
        return table.select(columns or SCHEMA.names).cast(
            pa.schema([SCHEMA.field(name) for name in table.column_names])
        )
    except (pa.ArrowException, OSError, ValueError, KeyError) as error:
        words = " ".join(str(error).split())[:100]
        remedy = "delete it and run the same command again: its images are drawn anew"
        raise UserError(f"{store.address}/{name}: not a part of a manifest ({words}); {remedy}") from None


def read_manifest(store: Store, columns: Sequence[str] | None = None) -> pa.Table:
    """Every drawing once, whatever parts it stands in; `columns` besides id, try, status and run if only some count."""
    wanted = None if columns is None else list(dict.fromkeys([*KEYS, *columns]))
    _, tables = _tables(store, wanted)
    return latest(pa.concat_tables([SCHEMA_EMPTY.select(wanted or SCHEMA.names), *tables]))


def latest(table: pa.Table) -> pa.Table:
    """Of the rows for one id and try, the one of the highest run."""
    if table.num_rows < 2:
        return table
    order = pc.sort_indices(table, [("id", "ascending"), ("try", "ascending"), ("run", "descending")])
    ids, tries = (table[name].combine_chunks().take(order) for name in ("id", "try"))
    new = pc.or_(pc.not_equal(ids[1:], ids[:-1]), pc.not_equal(tries[1:], tries[:-1]))
    order = order.filter(pa.concat_arrays([pa.array([True]), new]))
    if len(order) == table.num_rows and pc.all(pc.equal(order, np.arange(len(order), dtype=np.uint64))).as_py():
        return table  # in order already, as one worker leaves it: a million rows need not be there twice
    return table.take(order)


def next_run(store: Store) -> int:
    """A number above those of all runs before, from the names of the parts; a clock may be wrong."""
    stems = (name.rpartition("/")[2].partition("-")[0] for name in store.sizes(FOLDER))
    return 1 + max((int(stem) for stem in stems if stem.isdecimal()), default=0)


def compact(store: Store) -> None:
    """Put all parts together if there are many; only for a worker that is alone, or has finished."""
    if len(part_names(store)) > FAN:
        rewrite(store, lambda table: table)


def rewrite(store: Store, changed: Callable[[pa.Table], pa.Table]) -> None:
    """Put one part in the place of all, its rows changed; only for a worker that is alone, or has finished."""
    names, tables = _tables(store, None)
    table, run = changed(latest(pa.concat_tables([SCHEMA_EMPTY, *tables]))), next_run(store) - 1
    store.write(f"{FOLDER}/{run:05d}-all-{secrets.token_hex(4)}.parquet", table_bytes(table))
    for name in names:
        store.delete(name)


def part_names(store: Store) -> list[str]:
    """Names of all parts, in order."""
    return sorted(name for name in store.sizes(FOLDER) if name.endswith(".parquet"))


def _tables(store: Store, columns: list[str] | None) -> tuple[list[str], list[pa.Table]]:
    """All parts and their names, listed anew when a merger took one away between the listing and the reading."""
    for _ in range(100):
        try:
            names = part_names(store)
            return names, [read_part(store, name, columns) for name in names]
        except FileNotFoundError:
            continue
    raise UserError(f"{store.address}/{FOLDER}: changes faster than it can be read; wait until the runs have ended")


SCHEMA_EMPTY = SCHEMA.empty_table()
