"""What `cxr-index check` finds in the images of an index, beyond what the table itself shows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd

from gen.data.addresses import present
from gen.data.duplicates import exact_groups, near_pairs
from gen.data.images import read_image
from gen.data.index import check_index
from gen.data.looks import Look, local_contrast, look_at_all, unit

WIDE_BORDER = 0.15  # of the area
# both correlations with the mean chest; of 3,326 radiographs two are below, both known, and the next stands at -0.13
INVERTED = -0.2
CONTRAST_SIGMA = 6.0  # pixels of 32
SIDE = 32
ERRORS = ("table", "unreadable image", "same pixels in two splits")
REPORT_COLUMNS = ("severity", "kind", "row", "image", "other", "detail")


@dataclass(frozen=True)
class Problem:
    """One finding; `row` counts from 1, 0 where it concerns no single row."""

    kind: str
    row: int
    image: str
    detail: str
    other: str = ""

    @property
    def severity(self) -> str:
        """error, which makes the check fail, or warning."""
        return "error" if self.kind in ERRORS else "warning"

    def line(self) -> str:
        """The finding for people."""
        if self.kind == "table":
            return self.detail
        return f"row {self.row}: {self.kind}: {self.image}{f' and {self.other}' if self.other else ''} ({self.detail})"


def inspect(table: pd.DataFrame, images: bool = True, workers: int = 0) -> list[Problem]:
    """Every problem of a typed index, errors first; without `images` only those of the table and of absent files."""
    problems = [Problem("table", 0, "", line) for line in check_index(table)]
    if {"image", "split"} <= set(table.columns):
        problems += _missing_views(table)
        if images and len(table):
            problems += _look_problems(table, workers)
    return sorted(problems, key=lambda problem: problem.severity)


def counts(problems: Sequence[Problem]) -> list[list[str]]:
    """Lines of a table: severity, kind, number."""
    kinds = Counter((problem.severity, problem.kind) for problem in problems)
    return [["severity", "problem", "number"], *([*kind, str(number)] for kind, number in sorted(kinds.items()))]


def report(problems: Sequence[Problem]) -> pd.DataFrame:
    """One row a problem, for a CSV."""
    rows = [asdict(problem) | {"severity": problem.severity} for problem in problems]
    return pd.DataFrame(rows, columns=list(REPORT_COLUMNS))


def polarity(thumbnails: np.ndarray) -> np.ndarray:
    """Two correlations with the mean chest, of brightness and of local contrast; both negative: dark bone.

    Shapes: [N, 64, 64] uint8 -> [N, 2].
    """
    small = thumbnails.reshape(-1, SIDE, 2, SIDE, 2).astype(np.float32).mean((2, 4)) / 255
    template = mean_chest()[None]
    plain = np.einsum("nij,ij->n", unit(small), unit(template)[0])
    contrast = [local_contrast(images, CONTRAST_SIGMA) for images in (small, template)]
    return np.stack([plain, np.einsum("nij,ij->n", contrast[0], contrast[1][0])], axis=1)


@cache
def mean_chest() -> np.ndarray:
    """The median of 1,466 frontal radiographs of NIH ChestX-ray14. Shapes: -> [32, 32] float32 in 0..1."""
    return read_image(Path(__file__).with_name("mean_chest.png"))


def _missing_views(table: pd.DataFrame) -> Iterator[Problem]:
    views = table["view"] if "view" in table else pd.Series("", index=table.index)
    unknown = views.isin(["UNKNOWN", ""]).to_numpy()
    for row in np.flatnonzero(unknown):
        yield Problem("unknown view", int(row) + 1, table["image"].iloc[row], "set PA, AP, AP SUPINE or LATERAL")


def _look_problems(table: pd.DataFrame, workers: int) -> Iterator[Problem]:
    images = table["image"].to_numpy()
    there = np.flatnonzero(present(images))  # the others are reported by the table's check
    looks = look_at_all([images[row] for row in there], workers)
    for row, look in zip(there, looks, strict=True):
        if look.error:
            yield Problem("unreadable image", int(row) + 1, images[row], look.error)
        elif look.border >= WIDE_BORDER:
            yield Problem("wide border", int(row) + 1, images[row], f"{look.border:.0%} of the area")
    yield from _inverted(table, there, looks)
    yield from _copies(table, there, looks)


def _inverted(table: pd.DataFrame, rows: np.ndarray, looks: Sequence[Look]) -> Iterator[Problem]:
    marked = table["inverted"].to_numpy(dtype=bool) if "inverted" in table else np.zeros(len(table), dtype=bool)
    if not looks:
        return
    scores = polarity(np.stack([look.thumbnail for look in looks]))
    for row, look, score in zip(rows, looks, scores, strict=True):
        turned = score * (-1 if marked[row] else 1)
        if not look.error and (turned < INVERTED).all():
            advice = "but is marked inverted" if marked[row] else "set inverted = 1"
            detail = f"correlations {score[0]:.2f} and {score[1]:.2f} with the mean chest, {advice}"
            yield Problem("wrong polarity", int(row) + 1, table["image"].iloc[row], detail)


def _copies(table: pd.DataFrame, rows: np.ndarray, looks: Sequence[Look]) -> Iterator[Problem]:
    images, splits = table["image"].to_numpy(), table["split"].to_numpy()
    exact = set()
    for group in exact_groups([look.digest for look in looks]):
        first, *others = (int(rows[position]) for position in group)
        for other in others:
            across = splits[first] != splits[other]
            kind = "same pixels in two splits" if across else "same pixels in one split"
            exact.add((first, other))
            yield Problem(kind, other + 1, images[other], f"{splits[first]} and {splits[other]}", images[first])
    readable = [position for position, look in enumerate(looks) if not look.error]
    if not readable:
        return
    thumbnails = np.stack([looks[position].thumbnail for position in readable])
    where = rows[readable]
    for a, b, score in near_pairs(thumbnails, splits[where]):
        first, other = sorted((int(where[a]), int(where[b])))
        if (first, other) not in exact:
            detail = f"{splits[first]} and {splits[other]}, correlation {score:.2f}"
            yield Problem("near-duplicate in two splits", other + 1, images[other], detail, images[first])
