"""What of a plan is done: from the manifest and the files that are there, never from a clock or another worker."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gen.errors import UserError

from . import duplicates
from .parts import compact, next_run, read_manifest, table_bytes
from .plan import Plan, read_plan
from .request import Item
from .row import ACCEPTED, GIVEN_UP, REJECTED
from .split import Shard
from .store import Store
from .verify import verify
from .writers import IMAGES, PACKED, REJECTS

DESCRIPTION, PLAN = "set.json", "plan.parquet"
OTHER_OUT = "give another --out, or the settings of that run"


@dataclass(frozen=True)
class State:
    """How far a plan has come. `todo`: rows of the plan; `tries`: at which try an image goes on, if not at 0."""

    todo: np.ndarray
    tries: Mapping[str, int]
    done: int  # of this shard
    total: int

    def items(self, plan: Plan) -> Iterator[tuple[Item, int]]:
        """What is left to draw."""
        return ((item, self.tries.get(item.id, 0)) for item in plan.items(self.todo))


def state(store: Store, plan: Plan, shard: Shard, recheck: bool = False) -> State:
    """What a worker has still to draw: what has no row yet, or whose file is gone or has another size.

    `recheck` reads every file and removes those with another checksum first.
    """
    if recheck:
        for name, id_ in verify(store, plan).damaged.items():
            if name.startswith(PACKED) or shard.has(id_):  # another worker may be drawing its loose ones right now
                store.delete(name)
    finished, tries = _finished(store)
    mine = np.array([shard.has(id_) for id_ in plan.ids]) if shard.count > 1 else np.ones(len(plan), bool)
    done = pc.is_in(plan.table["id"], finished).to_numpy()
    return State(np.flatnonzero(mine & ~done), tries, int((mine & done).sum()), int(mine.sum()))


def complete(store: Store, plan: Plan) -> bool:
    """Whether every image of a plan is done, whoever drew it."""
    finished, _ = _finished(store)
    return bool(pc.all(pc.is_in(plan.table["id"], finished)).as_py())


def _finished(store: Store) -> tuple[pa.Array, dict[str, int]]:
    """Ids that are done, and the try at which the others go on."""
    table = read_manifest(store, ["file", "file_size"])
    there = present(store, table)
    accepted = pc.equal(table["status"], ACCEPTED)
    for name in pc.unique(table["file"].filter(pc.and_(accepted, pc.invert(there)))).to_pylist():
        if name.startswith(PACKED):
            store.delete(name)  # cut off; what else it holds is drawn again in another file
    over = pc.or_(pc.and_(accepted, there), pc.equal(table["status"], GIVEN_UP))
    ids = table["id"].filter(over).combine_chunks()
    tries: dict[str, int] = {}
    for row in table.filter(pc.invert(over)).select(["id", "try", "status"]).to_pylist():
        # a lost file comes from the try that was accepted, a rejected one is behind
        tries[row["id"]] = max(tries.get(row["id"], 0), row["try"] + (row["status"] == REJECTED))
    return ids, tries


def present(store: Store, table: pa.Table) -> pa.ChunkedArray:
    """Whether each row's file is there with its size."""
    sizes = {name: size for folder in (IMAGES, PACKED, REJECTS) for name, size in store.sizes(folder).items()}
    names, values = pa.array(list(sizes), pa.string()), pa.array(list(sizes.values()), pa.int64())
    found = pc.index_in(table["file"], names)
    return pc.fill_null(pc.equal(values.take(found.combine_chunks()), table["file_size"]), False)


def prepare(store: Store, plan: Plan, settings: dict[str, str], shard: Shard, alone: bool) -> int:
    """Make a folder ready for a worker and return its run's number; one that is alone tidies up first.

    Errors: UserError when the folder holds a set of other settings or of another plan.
    """
    _describe(store, plan, settings)
    if alone:
        for name in store.leftovers():
            store.delete(name)
        compact(store)
        if duplicates.SETTINGS in settings["gates"]:
            duplicates.mend(store)
    _remove_strays(store, "" if alone else f"-{shard.number}of{shard.count}-")
    return next_run(store)


def _describe(store: Store, plan: Plan, settings: dict[str, str]) -> None:
    """Write down what the set is, or compare with what is written there; a plan may have grown at its end."""
    try:
        rows, fingerprint, before = _described(store)
    except FileNotFoundError:
        rows, fingerprint, before = 0, "", settings
    for name in sorted(settings | before, key=lambda name: name == "config_hash"):  # which says least, last
        old, new = before.get(name), settings.get(name)
        if old != new:
            raise UserError(f"{store.address}: drawn with {name} {old!r}, now {new!r}; {OTHER_OUT}")
    if fingerprint and (rows > len(plan) or plan.fingerprint(rows) != fingerprint):
        raise UserError(f"{store.address}: holds a set of another plan; give another --out")
    if rows < len(plan):
        described = {"settings": settings, "plan": plan.fingerprint(), "rows": len(plan), "synthetic": True}
        store.write(PLAN, table_bytes(plan.table))
        store.write(DESCRIPTION, (json.dumps(described, indent=1) + "\n").encode())


def _described(store: Store) -> tuple[int, str, dict[str, str]]:
    """Rows and fingerprint of the plan, and settings, as they are written down.

    Errors: UserError for another file of that name; FileNotFoundError where there is none.
    """
    try:
        old = json.loads(store.read(DESCRIPTION))
        return int(old["rows"]), str(old["plan"]), dict(old["settings"])
    except (ValueError, KeyError, TypeError):
        raise UserError(f"{store.address}/{DESCRIPTION}: not the description of a set; give another --out") from None


def gates_of(store: Store) -> list[str]:
    """Names of the gates that a set is drawn with; none where it does not say so."""
    try:
        said = str(_described(store)[2].get("gates", ""))
    except FileNotFoundError:
        return []
    return [gate.split(" ", 1)[0] for gate in said.split("; ") if gate]


def _remove_strays(store: Store, named: str) -> None:
    """Delete packed files that no row speaks of: their worker died before it could say so, and will draw them again.

    `named`: only those with this in their names, where other workers may have a file whose rows are still to come.
    """
    packed = store.sizes(PACKED)
    if packed:
        known = set(pc.unique(read_manifest(store, ["file"])["file"]).to_pylist())
        for name in packed.keys() - known:
            if named in name:
                store.delete(name)


def stored_plan(store: Store) -> Plan:
    """The plan that a set keeps a copy of.

    Errors: UserError where there is no set.
    """
    try:
        data = store.read(PLAN)
    except OSError:
        raise UserError(f"{store.address}: holds no set ({PLAN} is missing); name its folder") from None
    return read_plan(pa.BufferReader(data), f"{store.address}/{PLAN}")
