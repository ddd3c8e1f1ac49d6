"""What a visitor uploads: one radiograph, read or refused in one line that names the visitor's own file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from gen.app.answers import named
from gen.data.images import DICOM_SUFFIXES, IMAGE_SUFFIXES, model_pixels, read_image
from gen.errors import UserError
from gen.provenance import RECORD_KEY

if TYPE_CHECKING:
    from torch import Tensor

FILE_TYPES = [*IMAGE_SUFFIXES]
SMALLEST = 32  # pixels


def read_upload(path: str | None) -> np.ndarray:
    """The radiograph of an uploaded file as brightness, bright bone. Shapes: -> [H, W] float32 in 0..1.

    Errors: UserError for no file, another kind of file, a damaged or a tiny one.
    """
    if not path:
        raise UserError("no file yet: choose a PNG, JPEG, TIFF or DICOM radiograph")
    if Path(path).suffix.lower() not in IMAGE_SUFFIXES:
        raise UserError(f"{Path(path).name}: not a radiograph's format; take one of {', '.join(IMAGE_SUFFIXES)}")
    try:
        pixels = np.asarray(read_image(path), dtype=np.float32)
    except UserError as error:
        raise named(error, path) from None
    if min(pixels.shape) < SMALLEST:
        raise UserError(f"{Path(path).name}: {pixels.shape[1]} x {pixels.shape[0]} pixels; at least {SMALLEST} a side")
    return pixels


def as_picture(pixels: np.ndarray) -> Image.Image:
    """Brightness as an 8-bit grey picture. Shapes: [H, W] in 0..1."""
    return Image.fromarray(np.round(np.clip(pixels, 0, 1) * 255).astype(np.uint8))


def stretched(pixels: np.ndarray) -> Image.Image:
    """Something faint as a picture whose brightest point is white. Shapes: [H, W] from 0."""
    return as_picture(pixels / max(float(pixels.max()), 1e-6))


def torch_image(pixels: np.ndarray, side: int) -> Tensor:
    """A radiograph as networks take it, padded to a square. Shapes: [H, W] in 0..1 -> [1, 1, side, side] in -1..1."""
    import torch

    return torch.from_numpy(model_pixels(pixels, side))[None, None]


def record_of(path: str | Path) -> dict | None:
    """The synthesis record inside a PNG or DICOM file of this suite, or None. Errors: UserError for a damaged one."""
    text = _dicom_record(path) if Path(path).suffix.lower() in DICOM_SUFFIXES else _png_record(path)
    if not text:
        return None
    try:
        record = json.loads(text)
    except (ValueError, RecursionError):
        raise UserError(f"{Path(path).name}: its record cannot be read; draw the image again") from None
    return record if isinstance(record, dict) else None


def _png_record(path: str | Path) -> str | None:
    with Image.open(path) as image:
        return getattr(image, "text", {}).get(RECORD_KEY)


def _dicom_record(path: str | Path) -> str | None:
    from pydicom import dcmread

    dataset = dcmread(path, stop_before_pixels=True, force=True)
    return str(dataset.get("ImageComments", "")) if dataset.get("SyntheticData") == "YES" else None
