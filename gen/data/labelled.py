"""Radiographs in memory with what is known about them, for small networks that would else wait for files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from tqdm import tqdm

from gen.data.images import from_model, prepare
from gen.data.index import CHILD_BELOW
from gen.data.moments import image_keys
from gen.data.vocabulary import NO_FINDING, normalise_findings

UNKNOWN = -1
LEAST = 10  # images with and without a label, from which a source speaks of it
CHILD_AGE = 4.0  # years, of a child whose age is not stated
PARENTS = {"Bacterial Pneumonia": "Pneumonia", "Viral Pneumonia": "Pneumonia"}


@dataclass(frozen=True)
class LabelledImages:
    """N images and their targets; NaN or UNKNOWN where something is not known.

    images: uint8 [N, 1, S, S]. findings: 0 or 1 [N, K], NaN unknown. view: position in the views [N], -1 unknown.
    sex: 1 female, 0 male [N]. child: 1 under 13 years [N]. age: years [N].
    """

    images: Tensor
    findings: Tensor
    view: Tensor
    sex: Tensor
    child: Tensor
    age: Tensor
    keys: list[str]
    patients: list[str]

    def __len__(self) -> int:
        return len(self.images)

    def batch(self, rows: Sequence[int]) -> dict:
        """Some rows as a batch for the loop; images in [-1, 1]."""
        index = torch.as_tensor(rows)
        values = {name: getattr(self, name)[index] for name in TARGETS}
        image = self.images[index].float() / 127.5 - 1
        return {"image": image, **values, "key": [self.keys[row] for row in rows]}

    def select(self, rows: Sequence[int]) -> LabelledImages:
        """Some rows, in this order."""
        index = torch.as_tensor(np.asarray(rows), dtype=torch.long)
        parts = {name: getattr(self, name)[index] for name in ("images", *TARGETS)}
        lists = {name: [getattr(self, name)[row] for row in index.tolist()] for name in ("keys", "patients")}
        return LabelledImages(**parts, **lists)

    def __add__(self, other: LabelledImages) -> LabelledImages:
        parts = {name: torch.cat([getattr(self, name), getattr(other, name)]) for name in ("images", *TARGETS)}
        return LabelledImages(**parts, keys=self.keys + other.keys, patients=self.patients + other.patients)


TARGETS = ("findings", "view", "sex", "child", "age")


def load_labelled(
    rows: pd.DataFrame,
    labels: Sequence[str],
    views: Sequence[str],
    side: int,
    known: Mapping[str, Sequence[str]] | None = None,
) -> LabelledImages:
    """Read the images of index rows at `side` pixels and their targets.

    `known` names the labels that each source speaks of (`known_by_source`); a label of which a source never speaks is
    unknown in its images, not absent. Without it every label is known wherever a row has findings.
    Errors: UserError for an unreadable image.
    """
    flags = rows["inverted"] if "inverted" in rows else [False] * len(rows)
    pictures = np.zeros((len(rows), 1, side, side), dtype=np.uint8)
    bar = tqdm(zip(rows["image"], flags, strict=True), total=len(rows), desc="images", unit="", disable=None)
    for number, (path, inverted) in enumerate(bar):
        pictures[number, 0] = from_model(prepare(path, side, bool(inverted)))
    age = _column(rows, "age", np.nan).astype(float)
    young = np.where(np.isnan(age), _child(_column(rows, "age_group", "")), np.where(age < CHILD_BELOW, 1.0, 0.0))
    age = np.where(np.isnan(age) & (young == 1), CHILD_AGE, age)
    return LabelledImages(
        images=torch.from_numpy(pictures),
        findings=finding_targets(rows, labels, known),
        view=torch.tensor([view_number(view, views) for view in _column(rows, "view", "")], dtype=torch.long),
        sex=torch.tensor([{"F": 1.0, "M": 0.0}.get(sex, np.nan) for sex in _column(rows, "sex", "")]),
        child=torch.from_numpy(young).float(),
        age=torch.from_numpy(age).float(),
        keys=image_keys(rows),
        patients=rows["patient_id"].astype(str).tolist(),
    )


def finding_targets(
    rows: pd.DataFrame, labels: Sequence[str], known: Mapping[str, Sequence[str]] | None = None
) -> Tensor:
    """1 present, 0 absent, NaN unknown. Shapes: -> [N, K] float32."""
    said = [_with_parents(text) for text in _column(rows, "findings", "")]
    sources = _column(rows, "source", "")
    targets = np.full((len(rows), len(labels)), np.nan, dtype=np.float32)
    for row, (names, source) in enumerate(zip(said, sources, strict=True)):
        spoken = labels if known is None else known.get(source, ())
        if names:
            targets[row] = [float(label in names) if label in spoken else np.nan for label in labels]
    return torch.from_numpy(targets)


def known_by_source(rows: pd.DataFrame, least: int = LEAST) -> dict[str, tuple[str, ...]]:
    """The labels of which each source speaks: those with so many images that have it and so many that have not.

    A source whose every image shows one disease says nothing about it: a network would learn the hospital.
    """
    known = {}
    for source, part in rows.groupby(_column(rows, "source", "")):
        said = [names for text in part["findings"] if (names := _with_parents(text))]
        counts = pd.Series([name for names in said for name in names], dtype=object).value_counts()
        known[str(source)] = tuple(sorted(n for n, count in counts.items() if least <= count <= len(said) - least))
    return known


def frequent_labels(rows: pd.DataFrame, known: Mapping[str, Sequence[str]], least: int) -> tuple[str, ...]:
    """Labels that at least so many rows show, in a source that speaks of them; "No Finding" first, then by name."""
    spoken = sorted(
        {label for labels in known.values() for label in labels}, key=lambda name: (name != NO_FINDING, name)
    )
    positives = (finding_targets(rows, spoken, known) == 1).sum(0).tolist()
    return tuple(label for label, count in zip(spoken, positives, strict=True) if count >= least)


def view_number(view: str, views: Sequence[str]) -> int:
    """Position of a view, a supine one counting as AP where the list has no other; -1 unknown."""
    name = view if view in views else view.split(" ")[0]
    return list(views).index(name) if name in views else UNKNOWN


def _with_parents(text: str) -> list[str]:
    names = normalise_findings(text)
    return names + [parent for name, parent in PARENTS.items() if name in names and parent not in names]


def _child(groups: np.ndarray) -> np.ndarray:
    return np.array([{"child": 1.0, "adult": 0.0}.get(group, np.nan) for group in groups])


def _column(rows: pd.DataFrame, name: str, default: object) -> np.ndarray:
    return rows[name].to_numpy() if name in rows else np.full(len(rows), default, dtype=object)
