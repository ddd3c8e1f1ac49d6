"""What a part of the evaluation hands back: figures with their intervals, plots, tables and plain words."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Literal

from gen.errors import UserError

Better = Literal["low", "high", ""]
GOOD, BAD, UNCLEAR = "good", "bad", "unclear"


@dataclass(frozen=True)
class Figure:
    """One number, and what is needed to judge it.

    `low` and `high` bound the 95 % interval; `floor` is the same figure of real against real radiographs of equal
    number, `control` that of a shuffled or otherwise broken set; `group` names a subset ("Pneumonia", "female").
    """

    name: str
    value: float
    low: float | None = None
    high: float | None = None
    n: int = 0
    unit: str = ""
    better: Better = ""
    floor: float | None = None
    control: float | None = None
    group: str = ""


@dataclass(frozen=True)
class Plot:
    """A picture for the page: a caption and the bytes of a PNG."""

    caption: str
    png: bytes


@dataclass(frozen=True)
class Table:
    """Rows of text under a header."""

    title: str
    header: tuple[str, ...]
    rows: list[tuple[str, ...]]


@dataclass(frozen=True)
class Verdict:
    """One plain sentence for the box at the head of the page: what is good, what is not, what cannot be told."""

    kind: Literal["good", "bad", "unclear"]
    text: str


class NotMeasurable(UserError):
    """The data do not suffice for a part, whatever else a user has asked; a whole report says so and goes on."""


@dataclass
class Section:
    """One part's results; `key` names its subcommand and its place in metrics.json."""

    key: str
    title: str
    figures: list[Figure] = field(default_factory=list)
    plots: list[Plot] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    verdicts: list[Verdict] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def figure(self, name: str, group: str = "") -> Figure:
        """The figure of that name and group. Errors: KeyError."""
        for figure in self.figures:
            if (figure.name, figure.group) == (name, group):
                return figure
        raise KeyError(f"{self.key}: no figure {name!r} of group {group!r}")

    def to_json(self) -> dict:
        """Everything but the pictures, as JSON takes it: a number that is none becomes null."""
        return {
            "title": self.title,
            "figures": [{name: _finite(value) for name, value in asdict(figure).items()} for figure in self.figures],
            "tables": [asdict(table) for table in self.tables],
            "verdicts": [asdict(verdict) for verdict in self.verdicts],
            "notes": self.notes,
        }


def _finite(value: object) -> object:
    return None if isinstance(value, float) and not math.isfinite(value) else value
