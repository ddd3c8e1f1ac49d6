"""The memorisation gate: no drawing may lie nearer to a training image than real radiographs of other patients do.

Distances are taken between the reader's features and between local contrasts at 32 px; the limits are those of
`gen.judges.neighbours.copy_threshold` over the training images and the held-out ones of their index. What is computed
once of an index lies beside it, in one safetensors file.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gen.data.index import fingerprint, read_index
from gen.errors import UserError
from gen.files import replacing

from .gates import Verdict, as_tensor
from .request import Item

if TYPE_CHECKING:
    import pandas as pd

    from gen.judges.reader import Reader

SIDE = 256  # pixels at which training images are looked at; features and details are of smaller copies
BATCH = 64
PIXELS, FEATURES = "pixels", "features"


@dataclass(frozen=True)
class Space:
    """Training images in one space, and the distance below which a drawing counts as a copy of one."""

    name: str
    train: np.ndarray  # [M, D]
    limit: float
    metric: str

    def nearest(self, vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Distance and row of the nearest training image. Shapes: [B, D] -> [B], [B]."""
        from gen.judges.neighbours import nearest

        distances, rows = nearest(vectors, self.train, 1, metric=self.metric)
        return distances[:, 0], rows[:, 0]


class MemoryGate:
    """Rejects what is a copy in any of its spaces; the score is the distance in units of the limit, 1 at the limit."""

    def __init__(self, name: str, spaces: Sequence[Space], names: Sequence[str], reader: Reader | None, settings: str):
        self.name, self.settings = name, settings
        self.spaces, self.names, self.reader = spaces, names, reader

    def check(self, images: np.ndarray, items: Sequence[Item]) -> list[Verdict]:
        """Judge drawings; `items` do not matter."""
        scores, reasons = np.full(len(images), np.inf), [""] * len(images)
        for space in self.spaces:
            distances, rows = space.nearest(_vectors(space.name, images, self.reader))
            for number, (ratio, row) in enumerate(zip(distances / space.limit, rows, strict=True)):
                if ratio < min(1, scores[number]):
                    reasons[number] = f"{space.name} near training image {self.names[row]}"
                scores[number] = min(scores[number], ratio)
        return [Verdict(score >= 1, float(score), reason) for score, reason in zip(scores, reasons, strict=True)]


def memory_gate(name: str, index: Path, reader: Reader | None, false_alarms: float) -> MemoryGate:
    """The gate of an index, whose `train` rows the model was trained on; others are what is held out.

    Errors: UserError for an index without training or held-out images, or too few for a limit.
    """
    table = read_index(index)
    train, held_out = table[table["split"] == "train"], table[table["split"] != "train"]
    if train.empty or held_out.empty:
        raise UserError(f"{index}: the {name} gate needs rows in train and, to set its limit, in val or test")
    mark = fingerprint(table)[:16]
    spaces = []
    for space in (PIXELS,) if reader is None else (PIXELS, FEATURES):
        seen_by = reader.fingerprint if space == FEATURES and reader is not None else ""
        vectors = _remembered(index, table, space, f"{mark} {seen_by}", reader)
        spaces.append(_space(space, vectors, table, false_alarms))
    limits = ", ".join(f"{space.name} {space.limit:.6g}" for space in spaces)
    names = [Path(image).name for image in train["image"]]
    return MemoryGate(name, spaces, names, reader, f"index {mark} {limits}")


def _space(name: str, vectors: np.ndarray, table: pd.DataFrame, false_alarms: float) -> Space:
    from gen.judges.neighbours import copy_threshold

    train = (table["split"] == "train").to_numpy()
    patients = (table["source"].astype(str) + "/" if "source" in table else "") + table["patient_id"].astype(str)
    metric = "cosine" if name == PIXELS else "euclidean"
    found = copy_threshold(
        vectors[train], vectors[~train], patients[train].to_numpy(), patients[~train].to_numpy(), false_alarms, metric
    )
    return Space(name, vectors[train], found.threshold, metric)


def _vectors(space: str, images: np.ndarray, reader: Reader | None) -> np.ndarray:
    """Images in one space. Shapes: [B, H, W] uint8 -> [B, D] float32."""
    from gen.judges.neighbours import pixel_details

    if space == PIXELS:
        return pixel_details(as_tensor(images))
    assert reader is not None, "features are the reader's"
    return reader.read(as_tensor(images)).features.numpy()


def _remembered(index: Path, table: pd.DataFrame, space: str, mark: str, reader: Reader | None) -> np.ndarray:
    """Vectors of every row of an index, from the file beside it or computed and written there."""
    path = index.with_name(f"{index.stem}.{space}.safetensors")
    vectors = _stored(path, mark, len(table))
    if vectors is None:
        vectors = _computed(table, lambda images: _vectors(space, images, reader))
        _store(path, vectors, mark)
    return vectors


def _stored(path: Path, mark: str, rows: int) -> np.ndarray | None:
    """The vectors of a file if it is of this index and reader."""
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        return None
    try:
        with safe_open(path, "np") as file:
            if (file.metadata() or {}).get("of") != json.dumps(mark):
                return None
            vectors = file.get_tensor("vectors")
    except (SafetensorError, OSError, ValueError):
        return None  # damaged: computed anew
    return vectors if vectors.ndim == 2 and len(vectors) == rows and np.isfinite(vectors).all() else None


def _store(path: Path, vectors: np.ndarray, mark: str) -> None:
    from safetensors.numpy import save_file

    try:
        with replacing(path) as temporary:
            save_file({"vectors": vectors}, temporary, metadata={"of": json.dumps(mark)})
    except PermissionError:
        pass  # an index in a folder that is not ours: computed at every start


def _computed(table: pd.DataFrame, vectors: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Vectors of every row's image, a batch in memory at a time."""
    from tqdm import tqdm

    from gen.data.images import from_model, prepare

    inverted = table["inverted"].astype(bool).tolist() if "inverted" in table else [False] * len(table)
    pairs = list(zip(table["image"], inverted, strict=True))
    parts = []
    for start in tqdm(range(0, len(pairs), BATCH), desc="training images", unit="batch", delay=1):
        part = [from_model(prepare(image, SIDE, dark)) for image, dark in pairs[start : start + BATCH]]
        parts.append(vectors(np.stack(part)).astype(np.float32))
    return np.concatenate(parts)
