"""DICOM radiographs as they are meant to be shown (pydicom, extra [dicom])."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gen.data.deflation import refuse_bomb
from gen.data.images import luma
from gen.errors import UserError

if TYPE_CHECKING:
    from pydicom import Dataset
    from pydicom.uid import UID

PROJECTION_MODALITIES = ("", "CR", "DX", "RF", "RG", "OT")
PIXEL_TAGS = ("Rows", "Columns", "BitsAllocated", "PhotometricInterpretation", "PixelData")
LARGEST_PIXELS = 2**27  # of a header; decoders claim the memory that it promises
WINDOW_TAGS = ("WindowCenter", "WindowWidth", "VOILUTFunction", "PhotometricInterpretation")
# pydicom asks its plugins by the alphabet, GDCM first, which takes half as long again and more
FASTEST = {
    "1.2.840.10008.1.2.4.50": "pillow",  # JPEG baseline
    "1.2.840.10008.1.2.4.80": "pyjpegls",  # JPEG-LS, lossless and near-lossless
    "1.2.840.10008.1.2.4.81": "pyjpegls",
    "1.2.840.10008.1.2.4.90": "pylibjpeg",  # JPEG 2000, lossless and not
    "1.2.840.10008.1.2.4.91": "pylibjpeg",
}


def read_dicom(path: str | Path) -> np.ndarray:
    """One DICOM radiograph as it is meant to be shown, bright bone. Shapes: -> [H, W] float32 in 0..1.

    Order of PS3.4 N.2: modality LUT, VOI LUT or window, photometric inversion. Without a VOI, 8-bit images keep
    their full range and deeper ones are stretched over their own. Padding pixels become black.
    Errors: UserError for other modalities, several frames, no pixels, undecodable or damaged pixels.
    """
    require_pydicom()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # small offences against the standard are common and harmless here
        dataset = _read(Path(path))
        _refuse_unfit(dataset, path)
        stored = _stored_values(dataset, path)
        try:
            shown = _shown(stored, dataset)
        except (ValueError, AttributeError, TypeError, NotImplementedError, IndexError) as error:
            raise UserError(f"{path}: cannot apply its grey-scale tables ({error}); export it again") from None
    if not shown.size or not np.isfinite(shown).all():
        raise UserError(f"{path}: its grey-scale tables lead to no picture; export it again")
    return shown.astype(np.float32)


def require_pydicom() -> None:
    """Say which extra to install where pydicom is absent."""
    try:
        import pydicom  # noqa: F401
    except ImportError:
        raise UserError("DICOM files need pydicom; install it with: pip install cxr-gen[dicom]") from None


def _read(path: Path) -> Dataset:
    from pydicom import dcmread
    from pydicom.errors import InvalidDicomError

    try:
        refuse_bomb(path)
        return dcmread(path)
    except UserError:
        raise
    except InvalidDicomError:
        return _read_without_preamble(path)
    except Exception as error:  # damaged files fail in many ways inside the parser
        raise UserError(f"{path}: damaged DICOM file ({error}); export or copy it again") from None


def _read_without_preamble(path: Path) -> Dataset:
    from pydicom import dcmread
    from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

    try:
        dataset = dcmread(path, force=True)
        complete = all(tag in dataset for tag in PIXEL_TAGS)
    except Exception:  # arbitrary bytes
        complete = False
    if not complete:
        raise UserError(f"{path}: not a DICOM image; remove it from the index or export it again")
    if "TransferSyntaxUID" not in dataset.file_meta:
        implicit, _ = dataset.original_encoding
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
    return dataset


def _refuse_unfit(dataset: Dataset, path: str | Path) -> None:
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


def _stored_values(dataset: Dataset, path: str | Path) -> np.ndarray:
    from pydicom.pixels.decoders.base import get_decoder

    syntax = dataset.file_meta.get("TransferSyntaxUID")
    if syntax is None:
        raise UserError(f"{path}: DICOM file without a transfer syntax; export it again")
    try:
        if syntax.is_encapsulated and not get_decoder(syntax).is_available:
            raise NotImplementedError
        return _decoded(dataset, syntax)
    except NotImplementedError:
        raise UserError(
            f"{path}: no decoder for {syntax.name}; pip install cxr-gen[dicom], or export it uncompressed"
        ) from None
    except Exception as error:  # each decoder plugin raises its own types
        reason = " ".join(str(error).split())  # one line for each plugin
        raise UserError(f"{path}: cannot decode the pixel data ({reason}); export it again") from None


def _decoded(dataset: Dataset, syntax: UID) -> np.ndarray:
    """By the fastest decoder of the syntax, or by whichever else can where that one cannot."""
    from pydicom.pixels.decoders.base import get_decoder

    fastest = FASTEST.get(str(syntax), "")
    if fastest and fastest in get_decoder(syntax).available_plugins:
        dataset.pixel_array_options(decoding_plugin=fastest)
        try:
            return dataset.pixel_array
        except Exception:  # each decoder plugin raises its own types
            dataset.pixel_array_options(decoding_plugin="")
    return dataset.pixel_array


def _shown(stored: np.ndarray, dataset: Dataset) -> np.ndarray:
    if stored.ndim == 3:
        return np.clip(luma(stored) / (2 ** int(dataset.BitsStored) - 1), 0, 1)
    padding = _padding(stored, dataset)
    values = _voi(_modality(stored, dataset), stored, dataset, padding)
    if _dark_is_high(dataset):
        values = 1 - values
    return np.where(padding, 0, values)


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
    if dataset.get("WindowCenter") is not None and dataset.get("WindowWidth") is not None:
        return _window(values, dataset)
    if stored.dtype == np.uint8 and values.dtype == np.uint8:
        return values / 255
    return _stretch(values, padding)


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
