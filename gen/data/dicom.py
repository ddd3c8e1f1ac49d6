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
from gen.data.images import luma
from gen.errors import UserError

if TYPE_CHECKING:
    from pydicom import Dataset

PROJECTION_MODALITIES = ("", "CR", "DX", "RF", "RG", "OT")
PIXEL_TAGS = ("Rows", "Columns", "BitsAllocated", "PhotometricInterpretation", "PixelData")
LARGEST_PIXELS = 2**27  # of a header; decoders claim the memory that it promises
WINDOW_TAGS = ("WindowCenter", "WindowWidth", "VOILUTFunction", "PhotometricInterpretation")
HALF_A_LEVEL = 0.5 / 255
DEEPEST = 2**16  # levels of a table; deeper pixels are computed one by one


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
        stored = stored_values(dataset, path, for_size if for_size and _shown_straight(dataset) else None)
        try:
            shown = _shown(stored, dataset, for_size is not None)
        except (ValueError, AttributeError, TypeError, NotImplementedError, IndexError) as error:
            raise UserError(f"{path}: cannot apply its grey-scale tables ({error}); export it again") from None
    if not shown.size or not np.isfinite(shown).all():
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


def _shown(stored: np.ndarray, dataset: Dataset, keep_bytes: bool) -> np.ndarray:
    """Stored values as brightness; grey ones by a table of all that occur, which is far shorter than the image."""
    if stored.ndim == 3:
        return np.clip(luma(stored) / (2 ** int(dataset.BitsStored) - 1), 0, 1).astype(np.float32)
    low, high = int(stored.min()), int(stored.max())
    if low < -DEEPEST // 2 or high >= DEEPEST:
        return _brightness(stored, dataset)
    levels = _levels(stored, low, high, dataset)
    table = np.zeros(DEEPEST, dtype=np.float32)  # negative values count from its end
    table[levels] = _brightness(levels.astype(stored.dtype), dataset)
    if keep_bytes and stored.dtype == np.uint8:
        table = np.round(table * 255).astype(np.uint8)
    return table[stored]


def _shown_straight(dataset: Dataset) -> bool:
    """Whether brightness is a straight line over all 8-bit values, so that averages may be taken before it."""
    if dataset.get("BitsAllocated") != 8 or dataset.get("SamplesPerPixel") != 1:
        return False
    try:
        table = _brightness(np.arange(256, dtype=np.uint8), dataset)
    except (ValueError, AttributeError, TypeError, NotImplementedError, IndexError):
        return False  # said when the image is shown
    return bool(np.abs(table - np.linspace(table[0], table[-1], 256)).max() < HALF_A_LEVEL)


def _levels(stored: np.ndarray, low: int, high: int, dataset: Dataset) -> np.ndarray:
    """The values from the lowest to the highest; where they will be stretched, only those that occur."""
    levels = np.arange(low, high + 1)
    if dataset.get("VOILUTSequence") or _has_window(dataset) or stored.dtype == np.uint8:
        return levels
    return levels[np.bincount((stored.ravel().astype(np.intp) - low), minlength=len(levels)) > 0]


def _brightness(stored: np.ndarray, dataset: Dataset) -> np.ndarray:
    """Modality table, values of interest, polarity, padding, of any values. Shapes: [...] -> [...] float32 in 0..1."""
    padding = _padding(stored, dataset)
    values = _voi(_modality(stored, dataset), stored, dataset, padding)
    if _dark_is_high(dataset):
        values = 1 - values
    return np.where(padding, 0, values).astype(np.float32)


def _dark_is_high(dataset: Dataset) -> bool:
    """The presentation LUT says so; the photometric interpretation where there is none."""
    shape = str(dataset.get("PresentationLUTShape") or "").upper()
    return shape == "INVERSE" if shape else dataset.PhotometricInterpretation == "MONOCHROME1"


def _modality(stored: np.ndarray, dataset: Dataset) -> np.ndarray:
    from pydicom.pixels.processing import apply_rescale

    if dataset.get("ModalityLUTSequence"):
        return _through_table(stored, dataset.ModalityLUTSequence[0], dataset)[0]
    return apply_rescale(stored, dataset)


def _voi(values: np.ndarray, stored: np.ndarray, dataset: Dataset, padding: np.ndarray) -> np.ndarray:
    """Values of interest as 0..1; a table goes before a window, the first of several is taken."""
    if dataset.get("VOILUTSequence"):
        shown, bits = _through_table(values, dataset.VOILUTSequence[0], dataset)
        return np.clip(shown / (2**bits - 1), 0, 1)
    if _has_window(dataset):
        return _window(values, dataset)
    if stored.dtype == np.uint8 and values.dtype == np.uint8:
        return values / 255
    return _stretch(values, padding)


def _has_window(dataset: Dataset) -> bool:
    return dataset.get("WindowCenter") is not None and dataset.get("WindowWidth") is not None


def _through_table(values: np.ndarray, item: Dataset, dataset: Dataset) -> tuple[np.ndarray, int]:
    """Values by a modality or VOI table (PS3.3 C.11.1.1), and the bits of its entries.

    Not pydicom's, which takes a table of 12-bit entries for an unknown type and wraps long ones of 8-bit entries.
    """
    entries, first, bits = (int(number) for number in item.LUTDescriptor)
    entries = entries or 2**16
    if first >= 2**15 and (dataset.PixelRepresentation == 1 or values.min() < 0):
        first -= 2**16
    table = _table_entries(item["LUTData"].value, entries, dataset)
    if len(table) < entries:
        raise ValueError(f"a table of {len(table)} entries that should have {entries}")
    # tables are indexed by integers; a rescale leaves floats
    places = np.round(values).astype(np.int64) - first
    return table[np.clip(places, 0, entries - 1)], bits


def _table_entries(data: bytes | list[int], entries: int, dataset: Dataset) -> np.ndarray:
    if not isinstance(data, bytes):
        return np.asarray(data, dtype=np.uint16)
    if len(data) < 2 * entries:  # 8-bit entries, two a word
        return np.frombuffer(data, dtype=np.uint8)
    order = "<" if dataset.file_meta.TransferSyntaxUID.is_little_endian else ">"
    return np.frombuffer(data, dtype=f"{order}u2")


def _window(values: np.ndarray, dataset: Dataset) -> np.ndarray:
    """The window's output as 0..1.

    pydicom puts it on the range that the modality LUT can reach; a plain 16-bit header makes that range known, and
    keeps a negative rescale slope from turning the image over.
    """
    from pydicom import Dataset
    from pydicom.pixels.processing import apply_windowing

    header = Dataset()
    for tag in WINDOW_TAGS:
        if tag in dataset:
            setattr(header, tag, dataset[tag].value)
    header.BitsStored, header.PixelRepresentation = 16, 0
    return apply_windowing(values, header) / 65535


def _stretch(values: np.ndarray, padding: np.ndarray) -> np.ndarray:
    inside = values[~padding] if not padding.all() else values
    low, high = float(inside.min()), float(inside.max())
    return np.clip((values - low) / max(high - low, 1e-6), 0, 1)


def _padding(stored: np.ndarray, dataset: Dataset) -> np.ndarray:
    first = dataset.get("PixelPaddingValue")
    if not isinstance(first, int):
        return np.zeros(stored.shape, dtype=bool)
    last = dataset.get("PixelPaddingRangeLimit")
    last = last if isinstance(last, int) else first
    return (stored >= min(first, last)) & (stored <= max(first, last))
