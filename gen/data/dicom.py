"""DICOM radiographs as they are meant to be shown (pydicom, extra [dicom])."""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gen.data.addresses import read_bytes
from gen.data.deflation import refuse_bomb
from gen.data.dicom_pixels import stored_values
from gen.data.grey_scale import as_shown, shown_straight
from gen.errors import UserError

if TYPE_CHECKING:
    from pydicom import Dataset

PROJECTION_MODALITIES = ("", "CR", "DX", "RF", "RG", "OT")
PIXEL_TAGS = ("Rows", "Columns", "BitsAllocated", "PhotometricInterpretation", "PixelData")
LARGEST_PIXELS = 2**27  # of a header; decoders claim the memory that it promises


def read_dicom(path: str | Path) -> np.ndarray:
    """`decode_dicom` of a file, or of any address of `gen.data.addresses`."""
    return decode_dicom(read_bytes(str(path)), str(path))


def decode_dicom(data: bytes, path: str, for_size: int | None = None) -> np.ndarray:
    """One DICOM radiograph as it is meant to be shown, bright bone. Shapes: -> [H, W] float32 in 0..1.

    With `for_size` what is stored in 8 bits stays uint8, which is resampled in a fraction of the time, and a JPEG that
    is shown along a straight line is decoded at a half, a quarter or an eighth of its size, never below twice that one.

    Order of PS3.4 N.2: modality LUT, VOI LUT or window, photometric inversion. Without a VOI, 8-bit images keep
    their full range and deeper ones are stretched over their own. Padding pixels become black.
    Errors: UserError for other modalities, several frames, no pixels, undecodable or damaged pixels.
    """
    require_pydicom()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # small offences against the standard are common and harmless here
        dataset = _read(data, path)
        _refuse_unfit(dataset, path)
        stored = stored_values(dataset, path, for_size if for_size and shown_straight(dataset) else None)
        try:
            shown = as_shown(stored, dataset, for_size is not None)
        except (ValueError, AttributeError, TypeError, NotImplementedError, IndexError) as error:
            raise UserError(f"{path}: cannot apply its grey-scale tables ({error}); export it again") from None
    if not shown.size or not np.isfinite([shown.min(), shown.max()]).all():
        raise UserError(f"{path}: its grey-scale tables lead to no picture; export it again")
    return shown


def require_pydicom() -> None:
    """Say which extra to install where pydicom is absent."""
    try:
        import pydicom  # noqa: F401
    except ImportError:
        raise UserError("DICOM files need pydicom; install it with: pip install cxr-gen[dicom]") from None


def _read(data: bytes, path: str) -> Dataset:
    from pydicom import dcmread
    from pydicom.errors import InvalidDicomError

    try:
        refuse_bomb(data, path)
        return dcmread(io.BytesIO(data))
    except UserError:
        raise
    except InvalidDicomError:
        return _read_without_preamble(data, path)
    except Exception as error:  # damaged files fail in many ways inside the parser
        raise UserError(f"{path}: damaged DICOM file ({error}); export or copy it again") from None


def _read_without_preamble(data: bytes, path: str) -> Dataset:
    from pydicom import dcmread
    from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

    try:
        dataset = dcmread(io.BytesIO(data), force=True)
        complete = all(tag in dataset for tag in PIXEL_TAGS)
    except Exception:  # arbitrary bytes
        complete = False
    if not complete:
        raise UserError(f"{path}: not a DICOM image; remove it from the index or export it again")
    if "TransferSyntaxUID" not in dataset.file_meta:
        implicit, _ = dataset.original_encoding
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
    return dataset


def _refuse_unfit(dataset: Dataset, path: str) -> None:
    modality = str(dataset.get("Modality") or "").upper()
    if modality not in PROJECTION_MODALITIES:
        raise UserError(f"{path}: modality {modality} is no plain radiograph; keep CR and DX images only")
    if "PixelData" not in dataset:
        raise UserError(f"{path}: DICOM file without pixel data; remove it from the index")
    frames = int(dataset.get("NumberOfFrames") or 1)
    if frames > 1:
        raise UserError(f"{path}: holds {frames} frames; export one frame a file")
    pixels = int(dataset.get("Rows") or 0) * int(dataset.get("Columns") or 0)
    if not 0 < pixels <= LARGEST_PIXELS:
        raise UserError(f"{path}: {dataset.get('Rows')} x {dataset.get('Columns')} pixels; export it again")
    photometric = str(dataset.get("PhotometricInterpretation", ""))
    if photometric.startswith("PALETTE"):
        raise UserError(f"{path}: palette colours are not supported; export it as MONOCHROME2")
