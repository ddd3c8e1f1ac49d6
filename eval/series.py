"""A table of follow-up images as arrays: what its images were read as, which findings it tells, whose they are.

Findings are known of a pair where both rows of it name one that the reader judges, or "No Finding": a set whose images
all say "COVID-19" tells nothing of the others, so that such pairs stand in no figure of labels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from gen.data.vocabulary import NO_FINDING

from .readings import Judge, Readings, judged_labels, other_rows, read_files, truth_matrix
from .tables import read_pairs

IMAGES = ("prior", "target", "generated")
COLUMNS = ("findings", "prior_findings", "patient")
ALL, SAME, DIFF, UNKNOWN = "All", "Same", "Diff", "Unknown"
GENERATED, COPY, REAL, SHUFFLED = "generated", "copy of the prior", "real follow-up", "another patient's"
WRONG, WRONG_EVENTS = "generated_wrong", "with another patient's events"
EVENTS = ("events", "events_wrong")
LEAST = 5  # images with a label and images without it


@dataclass(frozen=True)
class Series:
    """N pairs: what their images were read as, which labels they have, and who they are of.

    `read` holds prior, target and generated, if wanted generated_wrong; `recorded` what the table says of the patients:
    female (0, 1), age (years), NaN unknown; `exchanged` where the events of generated_wrong are others than those of
    generated. Shapes: truth, before [N, K] bool for `names`; the others [N].
    """

    names: list[str]
    read: dict[str, Readings]
    truth: np.ndarray
    before: np.ndarray
    subset: np.ndarray
    patients: np.ndarray
    recorded: Mapping[str, np.ndarray] = field(default_factory=dict)
    exchanged: np.ndarray | None = None

    @property
    def labelled(self) -> np.ndarray:
        """Pairs whose findings are known. Shapes: [N] bool."""
        return self.subset != UNKNOWN

    def subsets(self) -> dict[str, np.ndarray]:
        """All pairs with known findings, those where they stay and those where they change, if there are any."""
        found = {ALL: self.labelled, SAME: self.subset == SAME, DIFF: self.subset == DIFF}
        return {name: chosen for name, chosen in found.items() if chosen.any()}

    def candidates(self, seed: int) -> dict[str, Readings]:
        """What could be handed out as the follow-up: the generated image and its baselines."""
        generated = self.read["generated"]
        found = {
            GENERATED: generated,
            COPY: self.read["prior"],
            REAL: self.read["target"],
            SHUFFLED: generated.at(other_rows(self.patients, seed)),
        }
        return found | ({WRONG_EVENTS: self.read[WRONG]} if WRONG in self.read else {})


def read_series(table: str | Path, judge: Judge) -> tuple[pd.DataFrame, Series]:
    """A table's rows, and what they and the images say. Errors: UserError for a missing column or file."""
    rows = read_pairs(table, IMAGES, COLUMNS, more=WRONG)
    truth, before = (truth_matrix(rows[name], judge.labels) for name in ("findings", "prior_findings"))
    subset = rows["subset"].to_numpy() if "subset" in rows else _subset(rows, truth, before)
    known = subset != UNKNOWN
    names = judged_labels(truth[known], judge.labels, LEAST)
    names = [name for name in names if before[known, judge.labels.index(name)].any()]
    places = [judge.labels.index(name) for name in names]
    images = (*IMAGES, WRONG) if WRONG in rows else IMAGES
    read = {name: read_files(judge, rows[name], name) for name in images}
    labels = truth[:, places], before[:, places]
    return rows, Series(names, read, *labels, subset, rows["patient"].to_numpy(), _recorded(rows), _exchanged(rows))


def _subset(rows: pd.DataFrame, truth: np.ndarray, before: np.ndarray) -> np.ndarray:
    well = [truth_matrix(rows[name], (NO_FINDING,))[:, 0] for name in ("findings", "prior_findings")]
    known = (truth.any(1) | well[0]) & (before.any(1) | well[1])
    return np.where(known, np.where((truth == before).all(1), SAME, DIFF), UNKNOWN)


def _recorded(rows: pd.DataFrame) -> dict[str, np.ndarray]:
    empty = pd.Series("", rows.index)
    female = rows.get("sex", empty).map({"F": 1.0, "M": 0.0}).to_numpy(float)
    return {"female": female, "age": pd.to_numeric(rows.get("age", empty), errors="coerce").to_numpy(float)}


def _exchanged(rows: pd.DataFrame) -> np.ndarray | None:
    if WRONG not in rows:
        return None
    own, other = (rows[name] if name in rows else pd.Series(name, rows.index) for name in EVENTS)
    return (own != other).to_numpy()
