"""Images of one set that are the same picture: near-duplicates, and prompt collapse where their conditions differ.

A model that ignores its prompt, or knows few pictures, gives them away here; the gate `duplicates` keeps them out of a
set (sample/duplicates.py). Two images are the same picture by the rule for copies of real radiographs
(`gen.data.duplicates`): that of other exposures, even of one patient, none reaches.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pyarrow.compute as pc

from gen.data.duplicates import ALIKE, near_pairs, perceptual_hashes

from .parts import read_manifest
from .row import ACCEPTED
from .store import Store
from .stored import thumbnails

MOST = 20_000  # images compared with one another; of a larger set an even sample
LISTED = 10
NEIGHBOURS = 4  # nearest images of each that are looked at closely


@dataclass
class Similar:
    """How many images were compared, and what was found: pairs of ids with their conditions, most alike first."""

    compared: int = 0
    total: int = 0
    duplicates: list[tuple[str, str]] = field(default_factory=list)  # of one condition
    collapsed: list[tuple[str, str, str, str]] = field(default_factory=list)  # ids and prompts of two conditions
    conditions: int = 0

    def told(self) -> str:
        """A line for each kind, and the first pairs of distinct conditions."""
        of = "" if self.compared == self.total else f" (an even sample of {self.total})"
        lines = [f"{self.compared} images of {self.conditions} conditions compared{of}: {len(self.duplicates)} pairs"]
        lines[0] += " of one condition are near-duplicates, "
        lines[0] += f"{len(self.collapsed)} pairs of distinct conditions are the same picture"
        if self.collapsed:
            lines.append("PROMPT COLLAPSE: the model gives one picture for different conditions")
        lines += [f"  {a} = {b}: {p[:60]!r} and {q[:60]!r}" for a, b, p, q in self.collapsed[:LISTED]]
        return "\n".join(lines)


def find_similar(store: Store, most: int = MOST) -> Similar:
    """Compare the accepted images of a set; memory and time are bounded by `most`."""
    table = read_manifest(store, ["prompt", "seed", "file", "member", "format"])
    accepted = table.filter(pc.equal(table["status"], ACCEPTED)).sort_by("id")
    rows = np.linspace(0, accepted.num_rows - 1, min(most, accepted.num_rows)).round().astype(int)
    chosen = accepted.take(rows).sort_by([("file", "ascending"), ("member", "ascending")]).to_pylist()
    pairs = list(thumbnails(store, chosen))
    found = Similar(len(pairs), accepted.num_rows, conditions=len({row["prompt"] for row, _ in pairs}))
    for a, b in _same(np.stack([thumbnail for _, thumbnail in pairs])) if len(pairs) > 1 else ():
        one, other = sorted((pairs[a][0], pairs[b][0]), key=lambda row: row["id"])
        if one["prompt"] == other["prompt"]:
            found.duplicates.append((one["id"], other["id"]))
        else:
            found.collapsed.append((one["id"], other["id"], one["prompt"], other["prompt"]))
    return found


def _same(thumbnails: np.ndarray) -> list[tuple[int, int]]:
    """Pairs of one picture, each once: candidates by hash, then the closer look of `near_pairs`."""
    from gen.judges.neighbours import nearest

    hashes = perceptual_hashes(thumbnails)
    count = min(NEIGHBOURS, len(hashes) - 1)
    ids = np.arange(len(hashes))
    distances, neighbours = nearest(hashes, hashes, count, metric="cosine", exclude=(ids, ids))
    candidates = {
        (min(a, int(b)), max(a, int(b)))
        for a in range(len(hashes))
        for distance, b in zip(distances[a], neighbours[a], strict=True)
        if distance <= 1 - ALIKE and b >= 0
    }
    sure = ((near_pairs(thumbnails[[a, b]], ("a", "b")), (a, b)) for a, b in candidates)
    return [pair for _, pair in sorted(((-found[0][2], pair) for found, pair in sure if found))]
