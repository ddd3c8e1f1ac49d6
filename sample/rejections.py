"""What the gates of a set rejected, as a table to print and to keep."""

from __future__ import annotations

import json
import re
from collections import Counter

import pyarrow as pa
import pyarrow.compute as pc

from gen.errors import UserError

from .parts import read_manifest
from .row import ACCEPTED, GIVEN_UP
from .store import Store

REJECTIONS = "rejections.csv"
COLUMNS = ("gate", "reason", "drawings", "share")
# what tells one reason from another of its kind
NUMBER = re.compile(r"(?<=training image )\S+|(?<=same picture as )\S+|-?\d+(\.\d+)?")


def rejections(store: Store) -> list[tuple[str, str, int, float]]:
    """Gate, kind of reason, rejected drawings and their share of all drawings, the commonest first.

    A drawing that several gates rejected counts for each; the first row, without a gate, counts it once.
    """
    table = read_manifest(store, ["verdicts"])
    bad = table.filter(pc.not_equal(table["status"], ACCEPTED))
    counts: Counter[tuple[str, str]] = Counter()
    for batch in bad["verdicts"].chunks:
        for text in batch.to_pylist():
            counts.update((name, NUMBER.sub("...", reason)) for name, reason in _failed(text, store))
    drawings = max(1, table.num_rows)
    rows = [(gate, reason, count, count / drawings) for (gate, reason), count in counts.most_common()]
    return [("", f"all of {table.num_rows} drawings", bad.num_rows, bad.num_rows / drawings), *rows]


def _failed(text: str | None, store: Store) -> list[tuple[str, str]]:
    """Gates that rejected a drawing, with their reasons."""
    try:
        said = json.loads(text or "{}").items()
        return [(str(name), str(verdict["reason"])) for name, verdict in said if not verdict["passed"]]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise UserError(
            f"{store.address}: damaged verdicts in its manifest: {str(text)[:60]!r}; draw the set anew"
        ) from None


def write_rejections(store: Store) -> None:
    """Write the table beside the set."""
    lines = [",".join(COLUMNS)]
    for gate, reason, count, share in rejections(store):
        quoted = '"' + reason.replace('"', '""') + '"'
        lines.append(f"{gate},{quoted},{count},{share:.4f}")
    store.write(REJECTIONS, ("\n".join(lines) + "\n").encode())


def told(store: Store) -> str:
    """The table for people, with the images that were given up."""
    from gen.data.summary import aligned_left

    rows = [[gate, reason, f"{count}", f"{share:.1%}"] for gate, reason, count, share in rejections(store)]
    lost = given_up(read_manifest(store, []))
    return f"{aligned_left([list(COLUMNS), *rows])}\n{lost} images were given up: every try was rejected"


def given_up(table: pa.Table) -> int:
    """Images of which every try was rejected."""
    return pc.sum(pc.equal(table["status"], GIVEN_UP)).as_py() or 0
