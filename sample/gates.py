"""Quality gates: what a drawing has to pass before it belongs to a set, as in RoentGen-v2's loop (arXiv 2508.16783).

A gate says of every image whether it passes, by which score and, if not, why; all of that stands in the manifest. A
verdict depends on the image and its item alone, so that a set is the same however it is split among workers. The gate
that compares the images of a set with one another is in sample/duplicates.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from gen.data.compose import attributes

from .request import Item
from .thresholds import Thresholds

if TYPE_CHECKING:
    from torch import Tensor

    from gen.judges.lungs import LungSegmenter
    from gen.judges.reader import Reader, Reading

FRONTAL = ("PA", "AP", "AP SUPINE")
READ_AS = {"AP SUPINE": "AP"}  # views that the reader does not tell apart


@dataclass(frozen=True)
class Verdict:
    """What a gate says of one image; `reason` is empty where it passed."""

    passed: bool
    score: float
    reason: str = ""


class Gate(Protocol):
    """`name` is what `--gates` calls it; `settings` names everything that its verdicts depend on."""

    name: str
    settings: str

    def check(self, images: np.ndarray, items: Sequence[Item]) -> list[Verdict]:
        """Judge drawings. Shapes: [B, H, W] uint8 and the B items that they were drawn for."""
        ...


def as_tensor(images: np.ndarray) -> Tensor:
    """Images as the judges take them. Shapes: [B, H, W] uint8 -> [B, 1, H, W] in [-1, 1]."""
    import torch

    return torch.from_numpy(images.astype(np.float32))[:, None] / 127.5 - 1


def asked(item: Item) -> dict:
    """View, sex, age (None unknown) and findings that an item wants: its own, else what its prompt says."""
    said = attributes(item.prompt)
    findings = said["findings"] if item.findings is None else item.findings
    return {
        "view": item.view or said["view"],
        "sex": item.sex or said["sex"],
        "age": said["age"] if item.age is None else item.age,
        "findings": [label for label in findings.split(";") if label],
    }


class LookGate:
    """Grey levels and polarity: not blank, not burnt out, not inverted; with a segmenter also two lungs of human size.

    Its measure of polarity and its lungs are those of frontal views; a lateral one need only not be blank or burnt out.
    """

    def __init__(self, lungs: LungSegmenter | None = None) -> None:
        self.lungs = lungs
        self.name = "look" if lungs is None else "sanity"
        self.settings = "" if lungs is None else f"lungs {lungs.fingerprint}"

    def check(self, images: np.ndarray, items: Sequence[Item]) -> list[Verdict]:
        """The score is the likeness to a mean chest, from -1 to 1."""
        from gen.judges.sanity import sanity

        seen = sanity(as_tensor(images), self.lungs)
        verdicts = []
        for item, reason, likeness in zip(items, seen.reason, seen.likeness.tolist(), strict=True):
            frontal = asked(item)["view"] != "LATERAL"
            bad = reason if frontal or reason in ("blank", "saturated") else ""
            verdicts.append(Verdict(not bad, float(likeness), bad))
        return verdicts


class ReadingGate:
    """A gate that asks the shipped reader; several of them share what it read of a batch."""

    name = "reading"

    def __init__(self, readings: Readings, thresholds: Thresholds) -> None:
        self.readings, self.thresholds = readings, thresholds
        self.settings = f"reader {readings.reader.fingerprint} {thresholds.said(self.name)}"

    def check(self, images: np.ndarray, items: Sequence[Item]) -> list[Verdict]:
        """One verdict an image from its reading."""
        reading = self.readings.of(images)
        return [self._verdict(reading, row, asked(item)) for row, item in enumerate(items)]

    def _verdict(self, reading: Reading, row: int, wanted: dict) -> Verdict:
        raise NotImplementedError


class Readings:
    """The reader's answers, remembered for the batch at hand."""

    def __init__(self, reader: Reader) -> None:
        self.reader = reader
        self._images: np.ndarray | None = None
        self._reading: Reading | None = None

    def of(self, images: np.ndarray) -> Reading:
        """What the reader makes of a batch; asked twice for the same array it answers from memory."""
        if self._reading is None or self._images is not images:
            self._images, self._reading = images, self.reader.read(as_tensor(images))
        return self._reading


class ViewGate(ReadingGate):
    """The reader gives the view that was asked for at least a small probability."""

    name = "view"

    def _verdict(self, reading: Reading, row: int, wanted: dict) -> Verdict:
        view = READ_AS.get(wanted["view"], wanted["view"])
        views = self.readings.reader.views
        if view not in views:
            return Verdict(True, float("nan"))
        score = float(reading.view[row, views.index(view)])
        found = views[int(reading.view[row].argmax())]
        return _verdict(score >= self.thresholds.view, score, f"asked for {view}, looks {found}")


class DemographicsGate(ReadingGate):
    """Sex and age are near those that were asked for; the score is the smaller margin."""

    name = "demographics"

    def _verdict(self, reading: Reading, row: int, wanted: dict) -> Verdict:
        limits, reasons, margins = self.thresholds, [], []
        if wanted["sex"]:
            female = float(reading.sex_female[row])
            score = female if wanted["sex"] == "F" else 1 - female
            margins.append(score - limits.sex)
            reasons += [f"sex {wanted['sex']} at {score:.2f}"] * (score < limits.sex)
        if wanted["age"] is not None:
            error = abs(float(reading.age[row]) - wanted["age"])
            margins.append(1 - error / limits.age)
            reasons += [f"age {wanted['age']:g} looks {float(reading.age[row]):.0f}"] * (error > limits.age)
        return _verdict(not reasons, min(margins, default=float("nan")), ", ".join(reasons))


class LabelGate(ReadingGate):
    """Findings asked for that the reader knows have at least their own thresholds; the score is the smallest margin."""

    name = "labels"

    def _verdict(self, reading: Reading, row: int, wanted: dict) -> Verdict:
        labels, limits = self.readings.reader.labels, self.thresholds.labels
        known = [label for label in wanted["findings"] if label in labels and label in limits]
        margins = {label: float(reading.findings[row, labels.index(label)]) - limits[label] for label in known}
        missing = [label for label, margin in margins.items() if margin < 0]
        return _verdict(not missing, min(margins.values(), default=float("nan")), f"no {', '.join(missing)}")


def _verdict(passed: bool, score: float, reason: str) -> Verdict:
    return Verdict(passed, score, "" if passed else reason)


READING_GATES: Mapping[str, type[ReadingGate]] = {kind.name: kind for kind in (ViewGate, DemographicsGate, LabelGate)}
