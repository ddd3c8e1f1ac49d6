"""Proof that a set is whole: every id of the plan once, every file there, every checksum right, and nothing else."""

from __future__ import annotations

import hashlib
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import PurePosixPath

import pyarrow as pa
import pyarrow.compute as pc

from .loop import derived
from .packing import UNPACK, tar_mismatches
from .parts import read_manifest
from .plan import Plan
from .row import ACCEPTED, GIVEN_UP, REJECTED, Row
from .store import Store
from .writers import IMAGES, PACKED

LISTED = 20  # problems named one by one
CONDITION, PLACE = ("prompt", "seed"), ("file", "member", "format", "size", "sha256")  # columns read at a time


@dataclass
class Proof:
    """What was counted, and what is wrong."""

    planned: int = 0
    accepted: int = 0
    given_up: int = 0
    rejected: int = 0  # drawings that a later try replaced
    strays: int = 0  # image files that no row speaks of: of a process that was killed
    leftovers: int = 0  # temporary files
    problems: list[str] = field(default_factory=list)
    wrong: int = 0
    damaged: dict[str, str] = field(default_factory=dict)  # files with a missing or changed image, and its id

    def say(self, problem: str, count: int = 1) -> None:
        """Note a problem; the first ones by name."""
        self.wrong += count
        if len(self.problems) < LISTED:
            self.problems.append(problem)


def verify(store: Store, plan: Plan) -> Proof:
    """Compare a set with its plan, reading every file.

    Errors: UserError for a part of the manifest that cannot be read.
    """
    from tqdm import tqdm

    proof = Proof(planned=len(plan))
    _check_ids(read_manifest(store, CONDITION), plan, proof)
    pa.default_memory_pool().release_unused()
    table = read_manifest(store, PLACE)
    accepted = pc.indices_nonzero(pc.equal(table["status"], ACCEPTED))  # rejects are kept aside, no part of the set
    with tqdm(total=len(accepted), unit="image", delay=1) as bar:
        for rows in _slices(table, accepted):
            for file, same in groupby(rows, key=lambda row: row["file"]):
                _check_file(store, file, list(same), proof)
            bar.update(len(rows))
    _count_strays(store, table["file"], proof)
    return proof


def _slices(table: pa.Table, wanted: pa.Array, size: int = 20_000) -> Iterator[list[dict]]:
    """Some rows in the order of their files, a piece at a time, never a file's in two pieces."""
    files = table["file"].take(wanted).combine_chunks()
    order = pc.sort_indices(files)
    files, wanted, start = files.take(order), wanted.take(order), 0
    while start < len(wanted):
        stop = min(start + size, len(wanted))
        while stop < len(wanted) and files[stop].as_py() == files[stop - 1].as_py():
            stop += 1
        yield table.take(wanted[start:stop]).to_pylist()
        start = stop


def _check_ids(table: pa.Table, plan: Plan, proof: Proof) -> None:
    """Every id of the plan once, with the plan's prompt and seed, and no other id."""
    status = table["status"]
    proof.rejected = pc.sum(pc.equal(status, REJECTED)).as_py() or 0
    proof.given_up = pc.sum(pc.equal(status, GIVEN_UP)).as_py() or 0
    proof.accepted = pc.sum(pc.equal(status, ACCEPTED)).as_py() or 0
    final = table.filter(pc.not_equal(status, REJECTED))
    place = pc.index_in(final["id"], plan.table["id"].combine_chunks())
    for id_ in final["id"].filter(pc.is_null(place)).to_pylist():
        proof.say(f"{id_}: is not in the plan")
    counts = pc.value_counts(final["id"])
    for twice in counts.filter(pc.greater(counts.field("counts"), 1)).to_pylist():
        proof.say(f"{twice['values']}: is there {twice['counts']} times")
    missing = plan.table["id"].filter(pc.invert(pc.is_in(plan.table["id"], final["id"])))
    for number in range(min(LISTED, len(missing))):
        proof.say(f"{missing[number].as_py()}: has not been drawn")
    proof.wrong += max(0, len(missing) - LISTED)
    _check_conditions(
        final.filter(pc.is_valid(place)), plan.table.select(["prompt", "seed"]).take(place.drop_null()), proof
    )


def _check_conditions(final: pa.Table, planned: pa.Table, proof: Proof) -> None:
    first = pc.equal(final["try"], 0)
    same_seed = pc.or_(pc.invert(first), pc.equal(final["seed"], planned["seed"]))
    for number in pc.indices_nonzero(pc.invert(same_seed)).to_pylist():
        proof.say(f"{final['id'][number].as_py()}: was not drawn with the plan's seed")
    later = pc.indices_nonzero(pc.invert(first))
    drawn, wanted = final.take(later).select(["id", "try", "seed"]).to_pylist(), planned.take(later)["seed"].to_pylist()
    for row, seed in zip(drawn, wanted, strict=True):
        if row["seed"] != derived(seed, row["try"]):
            proof.say(f"{row['id']}: was not drawn with the plan's seed")
    for number in pc.indices_nonzero(pc.not_equal(final["prompt"], planned["prompt"])).to_pylist():
        proof.say(f"{final['id'][number].as_py()}: was not drawn with the plan's prompt")


def _check_file(store: Store, file: str, rows: list[Row], proof: Proof) -> None:
    """The images that rows say lie in one file."""
    path = PurePosixPath(file)
    if not file or path.is_absolute() or ".." in path.parts or path.name.startswith("."):
        for row in rows:
            _bad(row, "its file's name leads out of the set or is a temporary one", proof)
        return
    try:
        data = store.read(file)
    except OSError as error:
        for row in rows:
            _bad(row, f"{file} cannot be read ({error.strerror or type(error).__name__})", proof)
        return
    images = _images(data, rows, proof) if rows[0]["member"] else {"": data}
    if rows[0]["format"] == "webdataset" and images:
        for id_, problem in _mismatches(data):
            _bad({"file": file, "id": id_}, problem, proof)
    for row in rows:
        image = images.get(str(row["member"]))
        if image is None:
            _bad(row, f"{file} lacks {row['member']}", proof)
        elif len(image) != row["size"] or hashlib.sha256(image).hexdigest() != row["sha256"]:
            _bad(row, f"{file} {row['member']} has another checksum".replace("  ", " "), proof)


def _images(data: bytes, rows: list[Row], proof: Proof) -> dict[str, bytes]:
    """Images of a packed file; none of one that is damaged."""
    unpack = UNPACK.get(str(rows[0]["format"]))
    images: dict[str, bytes] = {}
    try:
        for name, image in unpack(data) if unpack else ():
            if name in images:
                proof.say(f"{rows[0]['file']}: holds {name} twice")
            images[name] = image
    except (tarfile.TarError, pa.ArrowException, OSError, ValueError, EOFError):
        pass  # what was read until then counts; the rest is reported as missing
    known = {row["member"] for row in rows}
    for name in images.keys() - known:
        proof.say(f"{rows[0]['file']}: holds {name}, which the manifest does not know")
    return images


def _mismatches(data: bytes) -> list[tuple[str, str]]:
    try:
        return list(tar_mismatches(data))
    except (tarfile.TarError, OSError, ValueError, EOFError):
        return []  # a damaged tar: its images are reported as missing


def _bad(row: Row, problem: str, proof: Proof) -> None:
    proof.damaged[str(row["file"])] = str(row["id"])
    proof.say(f"{row['id']}: {problem}")


def _count_strays(store: Store, known: pa.ChunkedArray, proof: Proof) -> None:
    """Files that no row speaks of. A packed one would be read as part of the set, so it is a problem."""
    proof.leftovers = len(store.leftovers())
    files = set(pc.unique(known).to_pylist())
    proof.strays = len(store.sizes(IMAGES).keys() - files)
    for name in sorted(store.sizes(PACKED).keys() - files):
        proof.say(f"{name}: is not in the manifest; delete it, or run the set again")
