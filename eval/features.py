"""Pixels and features of many images: decoded by several processes, computed once, kept by content."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from gen.data.images import from_model, prepare
from gen.errors import UserError
from gen.files import replacing

if TYPE_CHECKING:
    from .context import Context
    from .networks import FeatureNetwork

BATCH = 32
BLOCK = 2048  # images whose features are written at once: what an interruption can cost
FEW = 64  # images for which no worker is started


class _Pixels(Dataset):
    """Prepared images in the order of the rows; an unreadable one comes as the text of its error."""

    def __init__(self, rows: pd.DataFrame, side: int) -> None:
        inverted = rows["inverted"].fillna(False).astype(bool) if "inverted" in rows else [False] * len(rows)
        self.files = list(zip(rows["image"], inverted, strict=True))
        self.side = side

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, number: int) -> np.ndarray | str:
        path, inverted = self.files[number]
        try:
            return prepare(path, self.side, inverted)
        except UserError as error:
            return str(error)


def _stacked(samples: list) -> torch.Tensor | str:
    return next((s for s in samples if isinstance(s, str)), None) or torch.from_numpy(np.stack(samples))


def batches(rows: pd.DataFrame, side: int, workers: int, label: str) -> Iterator[torch.Tensor]:
    """Prepared images with a progress bar. Shapes: yields [B, 1, side, side] in -1..1.

    Errors: UserError naming the first file that cannot be read.
    """
    workers = workers if len(rows) > FEW else 0
    loader = DataLoader(_Pixels(rows, side), BATCH, collate_fn=_stacked, num_workers=workers)
    with tqdm(total=len(rows), desc=label, unit="image", disable=None) as bar:
        for batch in loader:
            if isinstance(batch, str):
                raise UserError(batch)
            yield batch[:, None]
            bar.update(len(batch))


def read_pixels(rows: pd.DataFrame, side: int, workers: int = 0) -> np.ndarray:
    """Every row's image as bytes, padded to a square. Shapes: -> [N, side, side] uint8."""
    parts = [from_model(batch[:, 0].numpy()) for batch in batches(rows, side, workers, f"pixels {side}")]
    return np.concatenate(parts) if parts else np.empty((0, side, side), np.uint8)


def checksums(rows: pd.DataFrame) -> list[str]:
    """A hash of every image file's bytes, and of whether it is read as inverted."""
    inverted = rows["inverted"].fillna(False).astype(bool) if "inverted" in rows else [False] * len(rows)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(_file_hash, rows["image"]))
    return [f"{digest}{'i' * int(flag)}" for digest, flag in zip(found, inverted, strict=True)]


def _file_hash(path: str) -> str:
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()[:32]
    except OSError as error:
        raise UserError(
            f"{path}: cannot be read ({error.strerror}); correct the table or copy the file again"
        ) from None


def cached_outputs(rows: pd.DataFrame, network: FeatureNetwork, context: Context) -> np.ndarray:
    """Features, and beside them the logits that the network has. Shapes: -> [N, D + K] float32.

    What was computed before, for the same bytes by the same weights and preprocessing, is read from the cache.
    """
    folder = context.cache / network.fingerprint
    keys = checksums(rows)
    held = _held(folder)
    place = {key: number for number, key in enumerate(keys)}
    todo = [number for key, number in place.items() if key not in held]
    for start in range(0, len(todo), BLOCK):
        part = todo[start : start + BLOCK]
        values = _computed(rows.iloc[part], network, context.workers)
        names = [keys[number] for number in part]
        _store(folder, names, values)
        held.update(zip(names, values, strict=True))
    return np.stack([held[key] for key in keys])


def _computed(rows: pd.DataFrame, network: FeatureNetwork, workers: int) -> np.ndarray:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    network.module.to(device)
    parts = []
    for batch in batches(rows, network.side, workers, f"features by {Path(network.name).name}"):
        output = network(batch.to(device))
        together = [part.float().cpu() for part in output if part is not None]
        parts.append(torch.cat(together, dim=1).numpy())
    return np.concatenate(parts)


def _held(folder: Path) -> dict[str, np.ndarray]:
    held: dict[str, np.ndarray] = {}
    for path in sorted(folder.glob("*.safetensors")):
        try:
            tensors = load_file(path)
            names = tensors["keys"].tobytes().decode().split("\n")
            held.update(zip(names, tensors["features"], strict=True))
        except (SafetensorError, KeyError, ValueError, OSError):
            raise UserError(f"{path}: damaged feature cache; remove this file, it will be computed again") from None
    return held


def _store(folder: Path, names: list[str], values: np.ndarray) -> None:
    text = "\n".join(names).encode()
    path = folder / f"{hashlib.sha256(text).hexdigest()[:16]}.safetensors"
    with replacing(path) as temporary:
        save_file({"keys": np.frombuffer(text, np.uint8), "features": np.ascontiguousarray(values)}, temporary)
