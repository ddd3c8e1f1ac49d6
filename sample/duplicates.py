"""The gate `duplicates`: no image of a set is the same picture as one before it in the plan.

Other gates judge a drawing alone; this one looks at the whole set, once all of it has passed them. An image is its
first drawing that passes the others and is not the same picture, by the rule for copies of real radiographs
(`gen.data.duplicates`), as any image before it in the plan. That does not speak of workers or of time, so a set is the
same however it is split and however often it is stopped.

A sieve brings it about: images are settled in the plan's order, and each crosses out the later ones that repeat it, as
far as the first one that is crossed out itself. What is crossed out is put aside and drawn anew, and the sieve goes on.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gen.data.duplicates import ALIKE, BLOCK, HASH_SIDE, SAME, near_pairs, perceptual_hashes
from gen.data.looks import THUMBNAIL

from .packing import PACKS
from .parts import Parts, next_run, read_manifest, rewrite
from .row import ACCEPTED, GIVEN_UP, REJECTED, Row
from .split import Shard
from .store import Store
from .stored import by_file, images_of, suffix_of, thumbnails
from .writers import IMAGES, PACKED, REJECTS, Loose, png

NAME = "duplicates"
SETTINGS = f"{NAME} alike {ALIKE}, same {SAME}"
CLOSE = ALIKE - 0.01  # products of whole blocks round differently from those of two images, which decide


@dataclass(frozen=True)
class Repeat:
    """An image that shows the picture of an earlier one, and how alike their details are, from -1 to 1."""

    id: str
    of: str
    likeness: float

    def verdict(self) -> dict[str, object]:
        """What the manifest says of it."""
        return {"passed": False, "score": self.likeness, "reason": f"same picture as {self.of}"}


class Sieve:
    """The images of a set in the plan's order, and how many of the first ones are settled; 8 kB of memory an image."""

    def __init__(self, ids: Sequence[str]) -> None:
        self.ids = pa.array(ids)
        self.tries = np.full(len(ids), -1)  # of the drawing at hand; -1: nothing to compare
        self.thumbnails = np.zeros((len(ids), THUMBNAIL, THUMBNAIL), np.uint8)
        self.hashes = np.zeros((len(ids), HASH_SIDE**2), np.float32)
        self.settled = 0
        self._fresh: list[int] = []  # looked at since they were compared with what is settled

    def look(self, store: Store) -> None:
        """Look at the accepted images that are new.

        Errors: UserError for one that cannot be read.
        """
        table = read_manifest(store, ["file", "member", "format"])
        table = table.filter(pc.is_in(table["id"], self.ids))
        accepted = table.filter(pc.equal(table["status"], ACCEPTED))
        places = pc.index_in(accepted["id"], self.ids).to_numpy()
        new = np.flatnonzero(self.tries[places] != accepted["try"].to_numpy())
        rows = accepted.take(new).append_column("place", pa.array(places[new])).to_pylist()
        for row, thumbnail in thumbnails(store, rows):
            self.put(int(str(row["place"])), int(str(row["try"])), thumbnail)

    def put(self, place: int, tried: int, thumbnail: np.ndarray) -> None:
        """A drawing for the image at a place of the plan. Shapes: [64, 64] uint8."""
        self.thumbnails[place], self.tries[place] = thumbnail, tried
        self.hashes[place] = perceptual_hashes(thumbnail[None])[0]
        self._fresh.append(place)

    def repeats(self) -> list[Repeat]:
        """Images that are crossed out now, in the plan's order; none when every image is settled."""
        found: dict[int, Repeat] = {}
        fresh = sorted(self._fresh)
        for start in range(0, len(fresh), BLOCK):
            later = np.array(fresh[start : start + BLOCK])
            alike = np.abs(self.hashes[later] @ self.hashes[: self.settled].T) >= CLOSE
            for number, earlier in np.argwhere(alike).tolist():
                self._compare(earlier, int(later[number]), found)
        self._fresh = []
        while self.settled < len(self.ids) and self.settled not in found:
            self._settle_block(found)
        for place in found:
            self.tries[place], self.hashes[place] = -1, 0
        return [found[place] for place in sorted(found)]

    def _settle_block(self, found: dict[int, Repeat]) -> None:
        """Settle some images, as far as the first that is crossed out."""
        start = self.settled
        alike = np.abs(self.hashes[start : start + BLOCK] @ self.hashes[start:].T) >= CLOSE
        for number, row in enumerate(alike):
            if start + number in found:
                return
            for later in np.flatnonzero(row[number + 1 :]) + start + number + 1:
                self._compare(start + number, int(later), found)
            self.settled += 1

    def _compare(self, earlier: int, later: int, found: dict[int, Repeat]) -> None:
        """Cross an image out if it repeats an earlier one; the earliest counts."""
        if later not in found:
            for *_, likeness in near_pairs(self.thumbnails[[earlier, later]], ("earlier", "later")):
                found[later] = Repeat(self.ids[later].as_py(), self.ids[earlier].as_py(), likeness)


def put_aside(store: Store, shard: Shard, repeats: Sequence[Repeat], max_tries: int) -> None:
    """Move accepted images to the rejects; of a kill in the middle a set knows either nothing or all.

    Their bytes are copied, a packed file is written again without them, then one part of the manifest says all of it,
    and last the old files go.
    """
    ledger, table = Parts(store, shard, next_run(store)), read_manifest(store)
    accepted = table.filter(pc.equal(table["status"], ACCEPTED))
    repeated = {repeat.id: repeat for repeat in repeats}
    files = accepted["file"].filter(pc.is_in(accepted["id"], pa.array(list(repeated))))
    touched = accepted.filter(pc.is_in(accepted["file"], files.unique())).to_pylist()
    rows: list[Row] = []
    for number, (_, same) in enumerate(by_file(touched)):
        images = images_of(store, same[0])
        rows += [_rejected(store, row, images, repeated[row["id"]], max_tries) for row in same if row["id"] in repeated]
        rest = [row for row in same if row["id"] not in repeated]
        rows += _packed_again(store, rest, images, f"{PACKED}/{ledger.stem}-{number:05d}") if rest else []
    ledger.add(rows)
    for name in files.unique().to_pylist():
        store.delete(name)


def _rejected(store: Store, row: Row, images: Mapping[str, bytes], repeat: Repeat, max_tries: int) -> Row:
    """The row of an image that has been copied to the rejects."""
    tried, data = int(str(row["try"])), images[str(row["member"])]
    name = Loose(store, png, suffix_of(row), REJECTS).name(repeat.id, tried)
    store.write(name, data)
    verdicts = json.loads(str(row["verdicts"] or "{}")) | {NAME: repeat.verdict()}
    status = REJECTED if tried + 1 < max_tries else GIVEN_UP
    where = {"file": name, "member": "", "file_size": len(data)}
    return row | where | {"status": status, "verdicts": json.dumps(verdicts)}


def _packed_again(store: Store, rows: Sequence[Row], images: Mapping[str, bytes], stem: str) -> list[Row]:
    """Rows of images that stay, in a file of their own."""
    pack, suffix = PACKS[str(rows[0]["format"])]
    data = pack([(row, images[str(row["member"])]) for row in rows])
    store.write(stem + suffix, data)
    return [row | {"file": stem + suffix, "file_size": len(data)} for row in rows]


def mend(store: Store) -> None:
    """Forget images that were drawn again although a drawing of theirs is accepted, so that they are drawn anew.

    The part of the manifest that rejected it has been lost. What lies in one packed file with them goes too.
    """
    table = read_manifest(store, ["file"]).sort_by([("id", "ascending"), ("try", "ascending")])
    ids, accepted = table["id"].combine_chunks(), pc.equal(table["status"], ACCEPTED).combine_chunks()
    torn = ids[:-1].filter(pc.and_(pc.equal(ids[1:], ids[:-1]), accepted[:-1])).unique()
    if len(torn):
        files = table["file"].filter(pc.and_(pc.is_in(table["id"], torn), accepted)).unique()
        rewrite(store, lambda rows: rows.filter(pc.invert(_lies_in(rows, torn, files))))
        for name in files.to_pylist():
            store.delete(name)


def _lies_in(rows: pa.Table, ids: pa.Array, files: pa.Array) -> pa.ChunkedArray:
    """Rows of some images or files."""
    return pc.or_(pc.is_in(rows["id"], ids), pc.is_in(rows["file"], files))


def tidy(store: Store) -> None:
    """Delete image files of a process that was killed while it put images aside."""
    table = read_manifest(store, ["file"])
    known = set(table["file"].filter(pc.equal(table["status"], ACCEPTED)).to_pylist())
    for name in (store.sizes(IMAGES) | store.sizes(PACKED)).keys() - known:
        store.delete(name)
