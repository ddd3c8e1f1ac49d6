"""Formats of a set: what bytes an image becomes, and the files that hold them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np

from gen.errors import UserError

from .row import ACCEPTED, Row
from .store import Store

if TYPE_CHECKING:
    from gen.provenance import SynthesisRecord

Format = Literal["png", "png16", "dicom", "webdataset", "parquet"]
IMAGES, PACKED, REJECTS = "images", "data", "rejects"  # folders


@dataclass(frozen=True)
class Picture:
    """A drawn image and how it came about. Shapes: pixels [H, W] float32 in 0..1."""

    pixels: np.ndarray
    record: SynthesisRecord

    @property
    def grey(self) -> np.ndarray:
        """8 bits. Shapes: -> [H, W] uint8."""
        return np.round(self.pixels * 255).astype(np.uint8)

    @property
    def deep(self) -> np.ndarray:
        """16 bits. Shapes: -> [H, W] uint16."""
        return np.round(self.pixels * 65535).astype(np.uint16)


def png(picture: Picture) -> bytes:
    """An 8-bit PNG with its record."""
    return _png(picture.grey, picture.record)


def png16(picture: Picture) -> bytes:
    """A 16-bit PNG with its record."""
    return _png(picture.deep, picture.record)


def dicom(picture: Picture) -> bytes:
    """An 8-bit DICOM file with its record."""
    from gen.data.dicom_writing import dicom_bytes

    record = picture.record
    age = float("nan") if record.age is None else record.age
    return dicom_bytes(picture.grey, asdict(record), record.view, record.sex, age)


def _png(pixels: np.ndarray, record: SynthesisRecord) -> bytes:
    from PIL import Image

    from gen.provenance import png_bytes

    return png_bytes(Image.fromarray(pixels), record)


class Writer(Protocol):
    """Takes rows and pictures; gives back the rows whose images lie safely in the store."""

    def add(self, row: Row, picture: Picture) -> list[Row]: ...

    def flush(self) -> list[Row]: ...


class Loose:
    """A file an image: the encoder's bytes under the image's name."""

    def __init__(self, store: Store, encode: Callable[[Picture], bytes], suffix: str, folder: str = "") -> None:
        self.store, self.encode, self.suffix, self.folder = store, encode, suffix, folder

    def name(self, id_: str, tried: int | None = None) -> str:
        """The file of an image, or of one that was rejected; one of 256 folders where a set may be large."""
        name = f"{id_}{'' if tried is None else f'_try{tried}'}{self.suffix}"
        fold = hashlib.blake2b(id_.encode(), digest_size=1).hexdigest()
        return f"{self.folder}/{fold}/{name}" if self.folder else name

    def add(self, row: Row, picture: Picture) -> list[Row]:
        data = self.encode(picture)
        name = self.name(str(row["id"]), None if row["status"] == ACCEPTED else int(str(row["try"])))
        self.store.write(name, data)
        return [row | described(data) | {"file": name, "member": "", "file_size": len(data)}]

    def flush(self) -> list[Row]:
        return []


def described(data: bytes) -> Row:
    """Size and checksum of an image's bytes."""
    return {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}


LOOSE: dict[str, tuple[Callable[[Picture], bytes], str]] = {
    "png": (png, ".png"),
    "png16": (png16, ".png"),
    "dicom": (dicom, ".dcm"),
}


def loose_writer(format_: str, store: Store, folder: str = "") -> Loose:
    """The writer of a format with a file an image."""
    return Loose(store, *LOOSE[format_], folder)


def check_format(format_: str) -> None:
    """Raise UserError when a format's package is not installed."""
    if format_ == "dicom" and find_spec("pydicom") is None:
        raise UserError("--format dicom needs pydicom; install it with: pip install 'cxr-gen[dicom]'")
