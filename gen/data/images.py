"""Radiograph files as arrays: 8/16-bit PNG and JPEG (DICOM by gen.data.dicom), padding, resizing, model range."""

from __future__ import annotations

import io
import os
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from gen.data.addresses import read_bytes
from gen.data.resampling import resample, resample_bytes
from gen.errors import UserError

DICOM_SUFFIXES = (".dcm", ".dicom")
RAW_SUFFIX = ".img"  # of JSRT
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", *DICOM_SUFFIXES)
RAW_SIDE = 2048  # pixels
SIXTEEN_BIT_MODES = ("I;16", "I;16L", "I;16B", "I")
BOMBS = (Image.DecompressionBombError, Image.DecompressionBombWarning)
ALPHA_MODES = ("RGBA", "LA", "PA")
# Pillow's limit, 89 million pixels, three times the largest detectors; beyond it a small file can fill the memory
warnings.filterwarnings("error", category=Image.DecompressionBombWarning)
LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)  # ITU-R BT.601


def read_image(path: str | Path, for_size: int | None = None) -> np.ndarray:
    """One radiograph as brightness, bright bone. Shapes: -> [H, W] float32 in 0..1.

    `path` is any address of `gen.data.addresses`. With `for_size` an 8-bit grey image stays uint8, and a JPEG more than
    four times as large is decoded at a half, a quarter or an eighth of its size: faster, where it will be shrunk to
    that size anyway.
    Errors: UserError naming the file where it is missing, truncated or no image.
    """
    address = str(path)
    data = read_bytes(address)
    suffix = os.path.splitext(address)[1].lower()
    if suffix in DICOM_SUFFIXES:
        from gen.data.dicom import decode_dicom

        return decode_dicom(data, address, for_size)
    if suffix == RAW_SUFFIX:
        return _raw(data, address)
    try:
        with Image.open(io.BytesIO(data)) as image:
            if for_size is None or image.mode != "L" or "transparency" in image.info:
                return brightness(image)
            if image.format == "PNG" and (pixels := _fast_png(data)) is not None and pixels.shape == image.size[::-1]:
                return pixels
            image.draft("L", (2 * for_size, 2 * for_size))
            return np.asarray(image)
    except (OSError, SyntaxError, ValueError, *BOMBS) as error:
        reason = "no image" if isinstance(error, UnidentifiedImageError) else error
        raise UserError(f"{address}: cannot read this image ({reason}); export or copy the file again") from None


def _fast_png(data: bytes) -> np.ndarray | None:
    """Pixels of a grey 8-bit PNG by imagecodecs, faster than by Pillow (`make bench`).

    None for any other PNG, and for a damaged one: Pillow says better what is wrong with it.
    """
    if data[24:26] != b"\x08\x00":  # bits and colour type in the header
        return None
    import imagecodecs  # here, for the commands that read no image start without it

    try:
        pixels = imagecodecs.png_decode(data)
    except imagecodecs.PngError:
        return None
    return pixels if pixels.ndim == 2 else None


def pad_to_square(array: np.ndarray, fill: float = 0) -> np.ndarray:
    """Centre an image on a square of its longer side. Shapes: [H, W] -> [max(H, W), max(H, W)]."""
    height, width = array.shape
    side = max(height, width)
    top, left = (side - height) // 2, (side - width) // 2
    margins = ((top, side - height - top), (left, side - width - left))
    return np.pad(array, margins, constant_values=fill)


def resize(array: np.ndarray, size: int) -> np.ndarray:
    """Resample to a square with Lanczos, which averages over the source pixels when it shrinks.

    Values may overshoot beside sharp edges. Shapes: [H, W] -> [size, size] float32.
    """
    return resample(array, (size, size))


def prepare(path: str | Path, size: int, inverted: bool = False) -> np.ndarray:
    """Read one radiograph for a model; its aspect ratio is kept and it is never flipped.

    `inverted` marks files stored with dark bone. Shapes: -> [size, size] float32 in -1..1, padding -1.
    """
    array = read_image(path, for_size=size)
    if inverted:
        array = (255 if array.dtype == np.uint8 else 1) - array
    return prepare_array(array, size)


def prepare_array(array: np.ndarray, size: int) -> np.ndarray:
    """Brightness (uint8, or float in 0..1) for a model. Shapes: [H, W] -> [size, size] float32 in -1..1, padding -1."""
    pixels = shrink(array, size)
    height, width = pixels.shape
    top, left = (size - height) // 2, (size - width) // 2
    square = np.full((size, size), -1, dtype=np.float32)
    square[top : top + height, left : left + width] = to_model(pixels)
    return square


def model_pixels(image: str | Path | Image.Image | np.ndarray, size: int) -> np.ndarray:
    """A file, a PIL image or a brightness array for a model. Shapes: -> [size, size] float32 in -1..1."""
    if isinstance(image, str | Path):
        return prepare(image, size)
    return prepare_array(brightness(image) if isinstance(image, Image.Image) else image, size)


def as_brightness(image: str | Path | Image.Image | np.ndarray) -> np.ndarray:
    """A file, a PIL image or a brightness array at its own size. Shapes: -> [H, W] float32 in 0..1."""
    if isinstance(image, str | Path):
        return read_image(image)
    return brightness(image) if isinstance(image, Image.Image) else np.asarray(image, dtype=np.float32)


def shrink(array: np.ndarray, size: int) -> np.ndarray:
    """Resample so that the longer side has `size` pixels, averaging over the source pixels when it shrinks.

    Shapes: [H, W] uint8 -> [h, w] uint8, or [H, W] in 0..1 -> [h, w] float32 in 0..1.
    """
    longer = max(array.shape)
    height, width = (max(1, round(side * size / longer)) for side in array.shape)
    if array.dtype == np.uint8:
        return array if longer == size else resample_bytes(array, (height, width))
    return np.clip(resample(array, (height, width)), 0, 1)


def to_model(array: np.ndarray) -> np.ndarray:
    """Brightness (uint8, or float in 0..1) to the model's range: float32 in -1..1."""
    scale = 255.0 if array.dtype == np.uint8 else 1.0
    scaled = np.multiply(array, np.float32(2 / scale), dtype=np.float32)
    scaled -= 1
    return scaled


def from_model(array: np.ndarray) -> np.ndarray:
    """The model's range -1..1 to uint8, values beyond it clipped."""
    return np.round(np.clip((np.asarray(array, dtype=np.float32) + 1) * 127.5, 0, 255)).astype(np.uint8)


def luma(colours: np.ndarray) -> np.ndarray:
    """Brightness of a colour image, in its own units. Shapes: [H, W, 3] -> [H, W] float32."""
    return colours.astype(np.float32) @ LUMA


def _raw(data: bytes, address: str) -> np.ndarray:
    """JSRT's raw format: 2048 x 2048 big-endian 12-bit values that grow with the film's blackness."""
    if len(data) != 2 * RAW_SIDE**2:
        raise UserError(f"{address}: {len(data)} bytes, not JSRT's {RAW_SIDE} x {RAW_SIDE} words; copy the file again")
    values = np.frombuffer(data, dtype=">u2")
    return 1 - np.minimum(values.reshape(RAW_SIDE, RAW_SIDE), 4095).astype(np.float32) / 4095


def brightness(image: Image.Image) -> np.ndarray:
    """A PIL image as brightness. Shapes: -> [H, W] float32 in 0..1. Errors: ValueError for floating-point images."""
    if image.mode in SIXTEEN_BIT_MODES:
        return np.clip(np.asarray(image).astype(np.float32) / 65535, 0, 1)
    if image.mode == "F":
        raise ValueError("floating-point images have no fixed range")
    if image.mode in ALPHA_MODES or "transparency" in image.info:
        pixels = np.asarray(image.convert("RGBA"), dtype=np.float32) / 255
        return luma(pixels[..., :3]) * pixels[..., 3]
    return np.asarray(image.convert("L"), dtype=np.float32) / 255
