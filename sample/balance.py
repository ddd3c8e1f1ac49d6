"""Conditions that mend an index: every class filled up, sexes made equal, the train split again and its rare ones more.

Only the train split is ever read: a model that has learnt from words or counts of the test split proves nothing by it.
"""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pandas as pd

from gen.data.vocabulary import VOCABULARY
from gen.errors import UserError

from .conditions import Condition

SEXES = ("M", "F")


@dataclass(frozen=True)
class Origin:
    """A training radiograph's condition, and whose it is."""

    condition: Condition
    labels: frozenset[str]
    patient: str  # a hash

    def again(self, why: str, labels: Sequence[str] | None = None, sex: str | None = None) -> Condition:
        """The condition once more, perhaps with fewer labels or the other sex; then its report no longer fits."""
        old = self.condition
        findings = old.findings if labels is None else ";".join(labels)
        new = old._replace(source=f"{why} from {self.patient}", findings=findings, sex=sex or old.sex)
        return new if (new.findings, new.sex) == (old.findings, old.sex) else new._replace(report="")


class Origins:
    """The train split by label."""

    def __init__(self, table: pd.DataFrame, name: str) -> None:
        if "findings" not in table:
            raise UserError(f"{name}: column 'findings' is missing; fill it in with cxr-index label")
        self.rows = [_origin(row) for row in table.to_dict("records")]
        self.by_label: dict[str, list[Origin]] = {}
        for row in self.rows:
            for label in row.labels:
                self.by_label.setdefault(label, []).append(row)
        self.counts = Counter({label: len(self.by_label[label]) for label in VOCABULARY if label in self.by_label})


def _origin(row: dict) -> Origin:
    def text(name: str) -> str:
        value = row.get(name, "")
        return value if isinstance(value, str) else ""

    age = row.get("age")
    view = "" if text("view") == "UNKNOWN" else text("view")
    known = None if age is None or pd.isna(age) else float(age)
    condition = Condition(view, text("sex"), known, text("findings"), report=text("report"))
    patient = hashlib.blake2b(str(row["patient_id"]).encode(), digest_size=6).hexdigest()
    return Origin(condition, frozenset(filter(None, text("findings").split(";"))), patient)


def filled_up(origins: Origins, each: int, rng: random.Random) -> Iterator[Condition]:
    """So many conditions that every class has `each` rows, real and planned, and not one more.

    Rare classes first, in the combinations that real patients have as long as all of their labels are wanted.
    """
    rarest_first = sorted(origins.counts, key=lambda label: (origins.counts[label], label))
    wanted = {label: each - origins.counts[label] for label in rarest_first if origins.counts[label] < each}
    for label in list(wanted):
        while wanted.get(label, 0) > 0:
            candidates = [row for row in origins.by_label[label] if row.labels <= wanted.keys()]
            closed = False
            while not closed:
                row = rng.choice(candidates or origins.by_label[label])
                labels = [name for name in row.condition.findings.split(";") if candidates or name == label]
                yield row.again(f"each {label}", labels)
                for name in labels:
                    wanted[name] -= 1
                    if wanted[name] == 0:
                        del wanted[name]
                        closed = True


def equal_sexes(origins: Origins, planned: Sequence[Condition], rng: random.Random) -> Iterator[Condition]:
    """Conditions that give every finding as many women as men, counting what is planned already."""
    counts: Counter[tuple[str, str]] = Counter()
    for condition in [*(row.condition for row in origins.rows), *planned]:
        counts.update((label, condition.sex) for label in condition.findings.split(";") if label)
    for label in origins.counts:
        men, women = counts[label, "M"], counts[label, "F"]
        sex = "F" if men > women else "M"
        for _ in range(abs(men - women)):
            yield rng.choice(origins.by_label[label]).again(f"sexes {label}", [label], sex)


def copied(origins: Origins, copies: int, rare_copies: int, rare_below: float) -> Iterator[Condition]:
    """The train split's conditions `copies` times, those with a rare label `rare_copies` times more.

    `rare_below`: share of the train split under which a label is rare.
    """
    rare = {label for label, count in origins.counts.items() if count < rare_below * len(origins.rows)}
    for row in origins.rows:
        times = copies + (rare_copies if row.labels & rare else 0)
        for _ in range(times):
            yield row.again("train")
