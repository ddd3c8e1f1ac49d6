"""Radiographs with what is needed to write a changed one: their bits, and the UIDs of DICOM files."""

from __future__ import annotations

import io
import os
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from gen.data.addresses import read_bytes
from gen.data.images import DICOM_SUFFIXES, RAW_SUFFIX, SIXTEEN_BIT_MODES, read_image

RAW_BITS = 12  # of JSRT's format
DEEP = 16


@dataclass(frozen=True)
class Source:
    """One radiograph: brightness [H, W] in 0..1, bits a pixel, and the class and instance UIDs of a DICOM file."""

    brightness: np.ndarray
    bits: int
    uids: tuple[str, str] | None = None

    @property
    def dicom(self) -> bool:
        """Whether it came as a DICOM file."""
        return self.uids is not None


def read_source(path: str | Path) -> Source:
    """A file of any format and depth. Errors: UserError as `read_image`."""
    brightness = read_image(path)
    suffix = os.path.splitext(str(path))[1].lower()
    if suffix in DICOM_SUFFIXES:
        return Source(brightness, *_of_dicom(str(path)))
    if suffix == RAW_SUFFIX:
        return Source(brightness, RAW_BITS)
    with Image.open(io.BytesIO(read_bytes(str(path)))) as image:
        return Source(brightness, DEEP if image.mode in SIXTEEN_BIT_MODES else 8)


def as_levels(brightness: np.ndarray, bits: int) -> np.ndarray:
    """Whole grey levels of so many bits. Shapes: [H, W] in 0..1 -> [H, W] uint8, or uint16 above 8 bits."""
    levels = np.round(np.clip(brightness, 0, 1) * np.float32(2**bits - 1))
    return levels.astype(np.uint8 if bits == 8 else np.uint16)


def as_picture(brightness: np.ndarray, bits: int) -> Image.Image:
    """A grey image of 8 bits, or of 16 whatever more it had. Shapes: [H, W] in 0..1."""
    return Image.fromarray(as_levels(brightness, 8 if bits == 8 else DEEP))


def _of_dicom(path: str) -> tuple[int, tuple[str, str]]:
    from pydicom import dcmread

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # as gen.data.dicom, which has read the file before
        header = dcmread(io.BytesIO(read_bytes(path)), stop_before_pixels=True, force=True)
    grey = int(header.get("SamplesPerPixel") or 1) == 1
    bits = min(max(int(header.get("BitsStored") or 8), 8), DEEP) if grey else 8
    return bits, (str(header.get("SOPClassUID") or ""), str(header.get("SOPInstanceUID") or ""))
