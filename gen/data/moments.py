"""The moments store: every image's latent mean and log-variance in one memory-mapped float16 file.

A folder with `moments.npy` [N, K, 2C, h, w] (K augmented variants of N images), `done.npy` [N] (1 where all variants of
an image are written) and `store.json` (keys in row order, fingerprint of codec, images and augmentation). Samples are
never stored: a stored sample would bake its noise in.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from gen.data.tables import parsing
from gen.errors import UserError
from gen.files import one_at_a_time

AGAIN = "remove the folder and run train/encode.py again"
KINDS = {"keys": str, "shape": int, "signature": int | float}  # the lists of a store.json and what they hold


def image_key(record: Mapping) -> str:
    """Name of an image that survives a move of the files: source, study and file name."""
    return f"{record.get('source', '')}:{record.get('study_id', '')}:{os.path.basename(record['image'])}"


def image_keys(rows: pd.DataFrame | Mapping[str, Iterable]) -> list[str]:
    """`image_key` of every row of a table, or of its columns."""
    names = [name for name in ("source", "study_id", "image") if name in rows]
    return [image_key(dict(zip(names, values, strict=True))) for values in zip(*(rows[n] for n in names), strict=True)]


def fingerprint(*parts: object) -> str:
    """Sixteen hexadecimal digits of anything that defines the stored numbers."""
    return hashlib.sha256(json.dumps(parts, default=str).encode()).hexdigest()[:16]


class MomentsStore:
    """An opened store; `store[key, variant]` is O(1)."""

    def __init__(self, folder: Path, mode: str = "r") -> None:
        self.folder = folder
        self.meta = _read_meta(folder)
        rows = len(self.meta["keys"])
        self.moments = _mapped(folder / "moments.npy", mode, (rows, *self.meta["shape"]), np.float16)
        self._plain = self.moments.view(np.ndarray)  # the same memory; a memmap costs more to index
        self.done = _mapped(folder / "done.npy", mode, (rows,), np.uint8)
        self.row_of = {key: row for row, key in enumerate(self.meta["keys"])}

    @classmethod
    def create(
        cls, folder: Path, keys: list[str], shape: tuple[int, ...], fingerprint: str, signature: Sequence[float]
    ) -> MomentsStore:
        """Open for writing; an existing store with the same fingerprint is continued. Shapes: shape [K, 2C, h, w].

        `signature` is the codec's, by which a reader knows that it decodes with the codec that encoded.
        Errors: UserError for a store of another fingerprint, and for two images of one key.
        """
        if len(set(keys)) < len(keys):
            twice = next(key for key, number in Counter(keys).items() if number > 1)
            raise UserError(f"{folder}: two images are called {twice}; give them different study_id in the index")
        folder.mkdir(parents=True, exist_ok=True)
        with one_at_a_time(folder):  # of two commands for one folder the second finds what the first has made
            if not (folder / "store.json").exists():
                cls._make(folder, keys, shape, fingerprint, signature)
        store = cls(folder, "r+")
        if store.meta["fingerprint"] != fingerprint:
            raise UserError(f"{folder}: holds moments of another codec or index; remove it or choose another out=")
        return store

    @staticmethod
    def _make(
        folder: Path, keys: list[str], shape: tuple[int, ...], fingerprint: str, signature: Sequence[float]
    ) -> None:
        """Files of zeros, then what they are."""
        for name, dtype, size in (("moments", np.float16, (len(keys), *shape)), ("done", np.uint8, (len(keys),))):
            np.lib.format.open_memmap(folder / f"{name}.npy", mode="w+", dtype=dtype, shape=size).flush()
            _reserve(folder / f"{name}.npy")
        # store.json last: a folder without it is not a store
        temporary = folder / "store.json.tmp"
        meta = {"fingerprint": fingerprint, "signature": list(signature), "keys": keys, "shape": list(shape)}
        temporary.write_text(json.dumps(meta))
        os.replace(temporary, folder / "store.json")

    @property
    def variants(self) -> int:
        """Augmented versions an image, the plain one included."""
        return self.moments.shape[1]

    def __getitem__(self, key_variant: tuple[str, int]) -> np.ndarray:
        """Moments of one image, a copy. Shapes: -> [2C, h, w] float16; a batch is made float32 on the device."""
        key, variant = key_variant
        return np.array(self._plain[self.row_of[key], variant])

    def pending(self) -> list[int]:
        """Rows not yet written."""
        return np.flatnonzero(self.done == 0).tolist()

    def write(self, row: int, moments: np.ndarray) -> None:
        """Store all variants of one image; the row counts as done only after its data is on disk."""
        self.moments[row] = moments
        self.moments.flush()
        self.done[row] = 1

    def missing(self, keys: list[str]) -> list[str]:
        """Those of the keys that are not stored."""
        return [key for key in keys if key not in self.row_of or not self.done[self.row_of[key]]]

    def check_holds(self, keys: list[str]) -> None:
        """Raise UserError unless every key is stored."""
        if missing := self.missing(keys):
            raise UserError(
                f"{self.folder}: {len(missing)} of {len(keys)} images have no moments (first: {missing[0]}); "
                "run train/encode.py again"
            )

    def check_codec(self, signature: Sequence[float]) -> None:
        """Raise UserError unless the codec of this signature has encoded the store."""
        stored = self.meta["signature"]
        if len(stored) != len(signature) or not np.allclose(stored, signature, atol=0.01):
            raise UserError(
                f"{self.folder}: encoded by another codec than the one given; run train/encode.py with this codec= "
                "and another out="
            )


class MomentsStores:
    """Several stores read as one, such as one a data set, with as many variants as the store that has fewest.

    Errors: UserError for stores whose latents differ in shape.
    """

    def __init__(self, folders: Sequence[Path]) -> None:
        self.stores = [MomentsStore(Path(folder)) for folder in folders]
        first, *others = self.stores
        self.folder = first.folder
        self.variants = min(store.variants for store in self.stores)
        for store in others:
            if store.meta["shape"][1:] != first.meta["shape"][1:]:
                raise UserError(f"{store.folder}: its latents have another shape than those of {first.folder}")

    def __getitem__(self, key_variant: tuple[str, int]) -> np.ndarray:
        """Moments of one image, a copy. Shapes: -> [2C, h, w] float16."""
        return next(store for store in self.stores if key_variant[0] in store.row_of)[key_variant]

    def missing(self, keys: list[str]) -> list[str]:
        """Those of the keys that no store has."""
        for store in self.stores:
            keys = store.missing(keys)
        return keys

    def check_holds(self, keys: list[str]) -> None:
        """Raise UserError unless every key is in one of the stores."""
        *others, last = self.stores
        for store in others:
            keys = store.missing(keys)
        last.check_holds(keys)

    def check_codec(self, signature: Sequence[float]) -> None:
        """Raise UserError unless the codec of this signature has encoded every store."""
        for store in self.stores:
            store.check_codec(signature)


def _reserve(path: Path) -> None:
    """Claim a sparse file's disk space now: a memory-mapped write that finds none later would end the process."""
    if hasattr(os, "posix_fallocate"):
        with open(path, "r+b") as file:
            try:
                os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
            except OSError as error:
                path.unlink()
                raise OSError(error.errno, error.strerror, str(path)) from None


def _read_meta(folder: Path) -> dict:
    path = folder / "store.json"
    if not path.is_file():
        raise UserError(f"{folder}: not a moments store; write one with train/encode.py")
    with parsing(path, "moments store", AGAIN):
        meta = json.loads(path.read_text())
        for name, kind in KINDS.items():
            if not all(isinstance(value, kind) and not isinstance(value, bool) for value in _listed(meta[name])):
                raise ValueError(f"{name} does not hold {kind}")
        _listed([meta["fingerprint"]])
    return meta


def _listed(values: object) -> list:
    if not isinstance(values, list):
        raise ValueError(f"a list is missing where {str(values)[:40]!r} stands")
    return values


def _mapped(path: Path, mode: str, shape: tuple[int, ...], dtype: type) -> np.ndarray:
    """An array of the store, memory-mapped, in the shape that its store.json says."""
    with parsing(path, "moments store", AGAIN):
        array = np.load(path, mmap_mode=mode)
        if array.shape != shape or array.dtype != dtype:
            raise ValueError(f"{array.dtype} {array.shape} where store.json says {np.dtype(dtype)} {shape}")
    return array
