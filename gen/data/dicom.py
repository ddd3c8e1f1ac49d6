"""DICOM radiographs in, and synthetic radiographs out as DICOM that says so (pydicom, extra [dicom])."""

from __future__ import annotations

import hashlib
import json
import math
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gen.data.images import luma
from gen.errors import UserError
from gen.files import replacing

if TYPE_CHECKING:
    from pydicom import Dataset

PROJECTION_MODALITIES = ("", "CR", "DX", "RF", "RG", "OT")
PIXEL_TAGS = ("Rows", "Columns", "BitsAllocated", "PhotometricInterpretation", "PixelData")
WINDOW_TAGS = ("WindowCenter", "WindowWidth", "VOILUTFunction", "PhotometricInterpretation")
GDCM = "python-gdcm"
DECODER_PACKAGES = {
    "1.2.840.10008.1.2.4.51": GDCM,  # JPEG extended, 12 bit
    "1.2.840.10008.1.2.4.57": GDCM,  # JPEG lossless
    "1.2.840.10008.1.2.4.70": GDCM,  # JPEG lossless, first-order prediction
}
VIEW_POSITIONS = {"PA": "PA", "AP": "AP", "AP SUPINE": "AP", "LATERAL": "LL"}
SYNTHETIC = "Synthetic radiograph made by a generative model. Not a patient. Not for diagnosis."


def read_dicom(path: str | Path) -> np.ndarray:
    """One DICOM radiograph as it is meant to be shown, bright bone. Shapes: -> [H, W] float32 in 0..1.

    Order of PS3.4 N.2: modality LUT, VOI LUT or window, photometric inversion. Without a VOI, 8-bit images keep
    their full range and deeper ones are stretched over their own. Padding pixels become black.
    Errors: UserError for other modalities, several frames, no pixels, undecodable or damaged pixels.
    """
    _require_pydicom()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # small offences against the standard are common and harmless here
        dataset = _read(Path(path))
        _refuse_unfit(dataset, path)
        stored = _stored_values(dataset, path)
        try:
            shown = _shown(stored, dataset)
        except (ValueError, AttributeError, TypeError, NotImplementedError, IndexError) as error:
            raise UserError(f"{path}: cannot apply its grey-scale tables ({error}); export it again") from None
    return shown.astype(np.float32)


def write_synthetic_dicom(
    path: str | Path, image: np.ndarray, record: dict, view: str = "UNKNOWN", sex: str = "", age: float = math.nan
) -> None:
    """Write a synthetic radiograph as a Secondary Capture marked SyntheticData = YES, atomically.

    The record (JSON) goes into ImageComments; equal pixels and records give equal UIDs.
    Shapes: image [H, W] uint8 or uint16; age in years, NaN unknown.
    """
    if image.ndim != 2 or image.dtype not in (np.uint8, np.uint16):
        raise ValueError(f"need [H, W] uint8 or uint16, got {image.shape} {image.dtype}")
    _require_pydicom()
    comments = json.dumps(record, sort_keys=True, default=str)
    digest = hashlib.sha256(np.ascontiguousarray(image).tobytes() + comments.encode()).hexdigest()
    dataset = _synthetic_header(digest, comments)
    _describe_subject(dataset, view, sex, age)
    _store_pixels(dataset, image)
    with replacing(path) as temporary:
        dataset.save_as(temporary, enforce_file_format=True)


def _require_pydicom() -> None:
    try:
        import pydicom  # noqa: F401
    except ImportError:
        raise UserError("DICOM files need pydicom; install it with: pip install cxr-gen[dicom]") from None


def _read(path: Path) -> Dataset:
    from pydicom import dcmread
    from pydicom.errors import InvalidDicomError

    try:
        return dcmread(path)
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
        return dataset.pixel_array
    except NotImplementedError:
        package = DECODER_PACKAGES.get(str(syntax), "cxr-gen[dicom]")
        raise UserError(
            f"{path}: no decoder for {syntax.name}; pip install {package}, or export uncompressed"
        ) from None
    except Exception as error:  # each decoder plugin raises its own types
        raise UserError(f"{path}: cannot decode the pixel data ({error}); export it again") from None


def _shown(stored: np.ndarray, dataset: Dataset) -> np.ndarray:
    if stored.ndim == 3:
        return np.clip(luma(stored) / (2 ** int(dataset.BitsStored) - 1), 0, 1)
    from pydicom.pixels.processing import apply_modality_lut

    padding = _padding(stored, dataset)
    values = apply_modality_lut(stored, dataset)
    shown = _voi(values, stored, dataset, padding)
    if dataset.PhotometricInterpretation == "MONOCHROME1":
        shown = 1 - shown
    return np.where(padding, 0, shown)


def _voi(values: np.ndarray, stored: np.ndarray, dataset: Dataset, padding: np.ndarray) -> np.ndarray:
    """Values of interest as 0..1; a table goes before a window, the first of several is taken."""
    from pydicom.pixels.processing import apply_voi

    if dataset.get("VOILUTSequence"):
        bits = dataset.VOILUTSequence[0].LUTDescriptor[2]
        # tables are indexed by integers; a rescale leaves floats
        return np.clip(apply_voi(np.round(values).astype(np.int64), dataset) / (2**bits - 1), 0, 1)
    if dataset.get("WindowCenter") is not None and dataset.get("WindowWidth") is not None:
        return _window(values, dataset)
    if stored.dtype == np.uint8 and values.dtype == np.uint8:
        return values / 255
    return _stretch(values, padding)


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


def _synthetic_header(digest: str, comments: str) -> Dataset:
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid

    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = SecondaryCaptureImageStorage
    uids = (generate_uid(entropy_srcs=[digest, level]) for level in ("study", "series", "instance"))
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.SOPInstanceUID = uids
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.SyntheticData = "YES"
    dataset.ImageType = ["DERIVED", "SECONDARY"]
    dataset.ConversionType = "SYN"
    dataset.Modality = "DX"
    dataset.Manufacturer = "cxr-gen"
    dataset.BurnedInAnnotation = "NO"
    dataset.BodyPartExamined = "CHEST"
    dataset.DerivationDescription = SYNTHETIC
    dataset.ImageComments = comments[:10240]  # the longest LT value
    dataset.PatientName = f"SYNTHETIC^{digest[:8].upper()}"
    dataset.PatientID = f"SYNTHETIC-{digest[:12].upper()}"
    for empty in ("StudyDate", "StudyTime", "AccessionNumber", "ReferringPhysicianName", "StudyID", "PatientBirthDate"):
        setattr(dataset, empty, "")
    dataset.SeriesNumber = dataset.InstanceNumber = 1
    return dataset


def _describe_subject(dataset: Dataset, view: str, sex: str, age: float) -> None:
    dataset.PatientSex = sex if sex in ("M", "F") else ""
    if age is not None and not math.isnan(age):
        dataset.PatientAge = f"{int(age):03d}Y" if age >= 2 else f"{round(age * 12):03d}M"
    dataset.ViewPosition = VIEW_POSITIONS.get(view, "")
    dataset.PatientOrientation = ""


def _store_pixels(dataset: Dataset, image: np.ndarray) -> None:
    bits = image.dtype.itemsize * 8
    dataset.Rows, dataset.Columns = image.shape
    dataset.SamplesPerPixel, dataset.PixelRepresentation = 1, 0
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = bits
    dataset.HighBit = bits - 1
    data = np.ascontiguousarray(image, dtype=image.dtype.newbyteorder("<")).tobytes()
    dataset.PixelData = data + b"\0" * (len(data) % 2)
    dataset["PixelData"].VR = "OB" if bits == 8 else "OW"
