"""Thresholds of the reader's gates, from real radiographs that it was not trained on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import yaml

from gen.data.index import read_index
from gen.errors import UserError
from gen.files import replacing

from .gates import READ_AS
from .thresholds import Thresholds

if TYPE_CHECKING:
    import pandas as pd

    from gen.judges.reader import Reader, Reading

LEAST = 20  # images of a kind that a threshold needs
SIDE, BATCH = 256, 64  # pixels, images


def calibrate(reader: Reader, index: Path, keep: float) -> tuple[Thresholds, list[list[str]]]:
    """Thresholds that let the share `keep` of real radiographs of each kind through, and a table of what else passes.

    The table has a line a question: threshold, images of the kind, and the share of images of another kind that pass;
    the nearer that is to `keep`, the less the gate sees. Read from the splits val and test.
    Errors: UserError for an index without such images.
    """
    table = read_index(index, splits=["val", "test"])
    if table.empty:
        raise UserError(f"{index}: no rows in val or test; the reader may have learned the others by heart")
    reading = _read(reader, table)
    lines = [["gate", "threshold", "images", "of another kind that pass"]]

    def set_by(name: str, own: np.ndarray, others: np.ndarray) -> float | None:
        """The quantile of the scores of images of a kind, with its line."""
        if len(own) < LEAST:
            return None
        limit = float(np.quantile(own, 1 - keep))
        passing = f"{(others >= limit).mean():.0%} of {len(others)}" if len(others) else "none known"
        lines.append([name, f"{limit:.3f}", str(len(own)), passing])
        return round(limit, 4)

    views = table["view"].replace(READ_AS).to_numpy()
    scores = [(view, reading.view[:, number].numpy()) for number, view in enumerate(reader.views)]
    own = np.concatenate([score[views == view] for view, score in scores])
    others = np.concatenate([score[np.isin(views, reader.views) & (views != view)] for view, score in scores])
    found: dict[str, object] = {"keep": keep, "view": set_by("view", own, others)}
    found |= _demographics(table, reading, keep, set_by, lines)
    found["labels"] = _labels(table, reader, reading, set_by)
    return Thresholds(**{name: value for name, value in found.items() if value is not None}), lines


def write_thresholds(thresholds: Thresholds, path: Path) -> None:
    """Write a YAML that `--thresholds` reads."""
    with replacing(path) as temporary:
        temporary.write_text(yaml.safe_dump(thresholds.model_dump(mode="json"), sort_keys=False))


def _demographics(table: pd.DataFrame, reading: Reading, keep: float, set_by, lines: list[list[str]]) -> dict:
    found: dict[str, float | None] = {}
    female = reading.sex_female.numpy()
    sex = table["sex"].to_numpy() if "sex" in table else np.full(len(table), "")
    as_asked = np.concatenate([female[sex == "F"], 1 - female[sex == "M"]])
    found["sex"] = set_by("sex", as_asked, 1 - as_asked)
    years = table["age"].to_numpy(float) if "age" in table else np.full(len(table), np.nan)
    errors = np.abs(reading.age.numpy() - years)[np.isfinite(years)]
    if len(errors) >= LEAST:
        found["age"] = round(float(np.quantile(errors, keep)), 1)
        lines.append(["age", f"{found['age']:g} years", str(len(errors)), ""])
    return found


def _labels(table: pd.DataFrame, reader: Reader, reading: Reading, set_by) -> dict[str, float]:
    said = [set(text.split(";")) - {""} for text in table["findings"]]
    found = {}
    for number, label in enumerate(reader.labels):
        scores = reading.findings[:, number].numpy()
        has = np.array([label in labels for labels in said])
        limit = set_by(label, scores[has], scores[~has & np.array([bool(labels) for labels in said])])
        if limit is not None:
            found[label] = limit
    return found


def _read(reader: Reader, table: pd.DataFrame) -> Reading:
    """The reader's answers for every row."""
    from dataclasses import fields

    import torch
    from tqdm import tqdm

    from gen.data.images import prepare

    inverted = table["inverted"].astype(bool) if "inverted" in table else [False] * len(table)
    pairs, parts = list(zip(table["image"], inverted, strict=True)), []
    for start in tqdm(range(0, len(pairs), BATCH), desc="real radiographs", unit="batch", delay=1):
        images = [torch.from_numpy(prepare(image, SIDE, dark)) for image, dark in pairs[start : start + BATCH]]
        parts.append(reader.read(torch.stack(images)[:, None]))
    names = [field.name for field in fields(parts[0])]
    return type(parts[0])(**{name: torch.cat([getattr(part, name) for part in parts]) for name in names})
