"""The labeller measured against the manual codes of Open-i's reports."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from gen.data.labeller import label_report
from gen.data.sources.layout import read_csv

COLUMNS = ("uid", "MeSH", "findings", "impression")
UNCODED = "no indexing"  # the coders left these reports out
# label -> the codes ("term/place/how") that mean it, matched at the start of a code. "No Finding" is left out: the
# codes' "normal" also denies a calcified granuloma or a worn spine, which none of the labels knows
CODES: dict[str, str] = {
    "Cardiomegaly": r"cardiomegaly|cardiac shadow(?=.*\b(?:enlarged|borderline))|heart (?:ventricles|atria).*enlarged",
    "Enlarged Cardiomediastinum": r"mediastinum(?=.*\b(?:prominent|enlarged))"
    r"|(?:mass|density|opacity|markings|lymph nodes)\b.*paratracheal",
    "Lung Lesion": r"nodule|mass(?!.*breast)|(?:opacity|density)/lung.*round",  # "round" is the coders' nodular
    "Lung Opacity": r"opacity|airspace disease|infiltrate|density/(?:lung|retrocardiac)|markings/lung"
    r"|markings/.*interstitial|lung/.*interstitial|lung diseases, interstitial",
    "Edema": r"pulmonary edema|pulmonary congestion|heart failure",
    "Consolidation": r"consolidation",
    "Pneumonia": r"pneumonia\b",
    "Atelectasis": r"pulmonary atelectasis|volume loss",
    "Pneumothorax": r"pneumothorax|hydropneumothorax",
    "Pleural Effusion": r"pleural effusion|hydropneumothorax",
    "Pleural Other": r"(?:thickening|cicatrix|calcinosis|deformity)/.*pleura|pleura/",
    "Fracture": r"fractures, bone",
    "Support Devices": r"catheters, indwelling|implanted medical device|medical device|tube, inserted|stents",
}
PATTERNS = {label: re.compile(pattern) for label, pattern in CODES.items()}
# doubtful findings that the coders write down; other doubtful ones they leave out (found on the half for tuning)
DOUBT_COUNTS = ("Cardiomegaly", "Lung Opacity", "Atelectasis", "Pleural Other")
HALVES = ("tuning half", "held-out half", "all")


class Score(NamedTuple):
    """Reports with a label by the codes, by the labeller and by both."""

    coded: int
    found: int
    both: int

    @property
    def precision(self) -> float:
        """Share of the labeller's that the codes have too, 1 for none."""
        return self.both / self.found if self.found else 1.0

    @property
    def recall(self) -> float:
        """Share of the codes' that the labeller finds, 1 for none."""
        return self.both / self.coded if self.coded else 1.0

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall, 1 where neither has any."""
        return 2 * self.both / (self.coded + self.found) if self.coded + self.found else 1.0


class Measured(NamedTuple):
    """Scores by half and label ("micro" over all), reports a second, and the disagreements, one row each."""

    scores: dict[str, dict[str, Score]]
    reports: dict[str, int]
    speed: float
    disagreements: pd.DataFrame


def measure(path: Path) -> Measured:
    """Label the reports of indiana_reports.csv and compare with their codes.

    Reports without text or codes are left out. A doubtful finding counts as present for the labels in DOUBT_COUNTS
    only. The rules were tuned on one random half.
    """
    table = _coded_reports(path)
    texts = [f"FINDINGS: {f}\nIMPRESSION: {i}" for f, i in zip(table["findings"], table["impression"], strict=True)]
    start = time.perf_counter()
    states = [label_report(text) for text in texts]
    speed = len(texts) / max(time.perf_counter() - start, 1e-9)
    coded = [coded_labels(codes) for codes in table["MeSH"]]
    found = [{label for label, state in each.items() if counts(label, state)} for each in states]
    parts = {HALVES[0]: table["tuning"], HALVES[1]: ~table["tuning"], HALVES[2]: table["tuning"] | True}
    scores = {name: _scores(part, coded, found) for name, part in parts.items()}
    sizes = {name: int(part.sum()) for name, part in parts.items()}
    return Measured(scores, sizes, speed, _disagreements(table, coded, found, states))


def coded_labels(codes: str) -> set[str]:
    """Labels that manual codes stand for: "Cardiomegaly/mild;Opacity/lung/base/left" -> Cardiomegaly, Lung Opacity."""
    parts = [code.strip().lower() for code in codes.split(";")]
    return {label for label, pattern in PATTERNS.items() if any(pattern.match(part) for part in parts)}


def counts(label: str, state: str) -> bool:
    """Whether a state is comparable to a code: present, or doubtful where the coders write doubts down."""
    return label in CODES and (state == "positive" or (state == "uncertain" and label in DOUBT_COUNTS))


def as_lines(scores: dict[str, Score]) -> list[list[str]]:
    """Rows of a table for people, the label first."""
    lines = [["label", "n in reference", "found", "precision", "recall", "F1"]]
    for label, score in scores.items():
        ratios = (f"{ratio:.3f}" for ratio in (score.precision, score.recall, score.f1))
        lines.append([label, str(score.coded), str(score.found), *ratios])
    return lines


def _coded_reports(path: Path) -> pd.DataFrame:
    table = read_csv(path, COLUMNS)
    half = np.random.default_rng(0).permutation(len(table))[: len(table) // 2]
    table = table.assign(tuning=table.index.isin(half))
    kept = ~table["MeSH"].str.lower().str.contains(UNCODED) & (table["findings"] + table["impression"] != "")
    return table[kept].reset_index(drop=True)


def _scores(part: Iterable[bool], coded: list[set[str]], found: list[set[str]]) -> dict[str, Score]:
    pairs = [(a, b) for inside, a, b in zip(part, coded, found, strict=True) if inside]
    scores = {
        label: Score(
            sum(label in a for a, _ in pairs), sum(label in b for _, b in pairs), sum(label in a & b for a, b in pairs)
        )
        for label in CODES
    }
    return scores | {"micro": Score(*map(sum, zip(*scores.values(), strict=True)))}


def _disagreements(table: pd.DataFrame, coded: list[set[str]], found: list[set[str]], states: list) -> pd.DataFrame:
    rows = []
    for report, a, b, state in zip(table.to_dict("records"), coded, found, states, strict=True):
        for label in sorted(a ^ b):
            side = "codes only" if label in a else "labeller only"
            half = HALVES[0] if report["tuning"] else HALVES[1]
            rows.append(
                (report["uid"], half, label, side, state.get(label, ""), *(report[name] for name in COLUMNS[1:]))
            )
    return pd.DataFrame(rows, columns=["uid", "half", "label", "side", "labeller", *COLUMNS[1:]])
