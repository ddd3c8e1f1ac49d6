"""The training radiographs that look most like a drawing, and whether it is too like one of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from gen.data.images import from_model, prepare, prepare_array
from gen.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

    from gen.judges.neighbours import CopyThreshold
    from gen.judges.reader import Reader

SIDE = 128  # pixels, the reader's own
BATCH = 32


@dataclass(frozen=True)
class Training:
    """Training rows with their features, and the distance under which a drawing counts as a copy."""

    reader: Reader
    rows: pd.DataFrame
    features: np.ndarray  # [M, D]
    limit: CopyThreshold

    @classmethod
    def read(cls, index: Path, progress: Callable) -> Training:
        """The features of an index's images. Errors: UserError for unreadable images, and no row held out."""
        from gen.data.index import read_index
        from gen.judges.neighbours import copy_threshold
        from gen.judges.reader import Reader

        reader, rows = Reader.load(), read_index(index)
        train, held_out = rows[rows["split"] == "train"], rows[rows["split"] != "train"]
        if held_out.empty:
            raise UserError(f"{index}: no rows outside the split train; without them nothing says what is too near")
        near, far = (_of_rows(reader, part, progress) for part in (train, held_out))
        return cls(reader, train, near, copy_threshold(near, far, train["patient_id"], held_out["patient_id"]))

    def nearest(self, images: Sequence[Image.Image]) -> list[tuple[Image.Image, str]]:
        """For each drawing its nearest training radiograph, with a caption that says how near that is.

        Distances are of the shipped reader's features, in units of the limit that real radiographs of others set.
        """
        from gen.judges.neighbours import nearest

        drawn = _features(self.reader, np.stack([prepare_array(np.asarray(image), SIDE) for image in images])[:, None])
        distances, found = nearest(drawn, self.features, 1)
        pairs = zip(distances[:, 0] / self.limit.threshold, found[:, 0], strict=True)
        return [_shown(self.rows.iloc[row], ratio) for ratio, row in pairs]


def _shown(row: pd.Series, ratio: float) -> tuple[Image.Image, str]:
    pixels = prepare(row["image"], SIDE, inverted=bool(row.get("inverted", False)))
    verdict = "TOO NEAR: a copy?" if ratio < 1 else "no copy"
    return Image.fromarray(from_model(pixels)), f"real, {Path(row['image']).name}: {ratio:.1f} x the limit, {verdict}"


def _of_rows(reader: Reader, rows: pd.DataFrame, progress: Callable) -> np.ndarray:
    parts = []
    for start in range(0, len(rows), BATCH):
        progress((start, len(rows)), desc="Reading training radiographs", unit="images")
        part = rows.iloc[start : start + BATCH]
        inverted = part["inverted"] if "inverted" in part else [False] * len(part)
        images = [prepare(image, SIDE, bool(dark)) for image, dark in zip(part["image"], inverted, strict=True)]
        parts.append(_features(reader, np.stack(images)[:, None]))
    return np.concatenate(parts) if parts else np.empty((0, reader.width), np.float32)


def _features(reader: Reader, images: np.ndarray) -> np.ndarray:
    import torch

    return reader.read(torch.from_numpy(images)).features.numpy()
