"""Synthetic radiographs as DICOM files that say so, with no tag but those listed here (pydicom, extra [dicom])."""

from __future__ import annotations

import hashlib
import io
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gen.data.dicom import require_pydicom
from gen.files import replacing

if TYPE_CHECKING:
    from pydicom import Dataset

VIEW_POSITIONS = {"PA": "PA", "AP": "AP", "AP SUPINE": "AP", "LATERAL": "LL"}
SYNTHETIC = "Synthetic radiograph made by a generative model. Not a patient. Not for diagnosis."
LEFT_EMPTY = ("StudyDate", "StudyTime", "AccessionNumber", "ReferringPhysicianName", "StudyID", "PatientBirthDate")
DESCRIPTION = (
    *("SpecificCharacterSet", "SyntheticData", "ImageType", "Modality", "Manufacturer"),
    *("BurnedInAnnotation", "BodyPartExamined", "DerivationDescription", "ImageComments", "ViewPosition"),
    *("PatientOrientation", "SeriesNumber", "InstanceNumber"),
)
MADE_UP = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "PatientName", "PatientID")
REQUESTED = ("PatientSex", "PatientAge")  # of the prompt, never of a patient
PIXELS = (
    *("Rows", "Columns", "SamplesPerPixel", "PixelRepresentation", "PhotometricInterpretation"),
    *("BitsAllocated", "BitsStored", "HighBit", "PixelData"),
)
# a tag that is not here is not written
WRITTEN_TAGS = frozenset((*LEFT_EMPTY, *DESCRIPTION, *MADE_UP, *REQUESTED, *PIXELS, "SourceImageSequence"))


def write_synthetic_dicom(
    path: str | Path, image: np.ndarray, record: dict, view: str = "UNKNOWN", sex: str = "", age: float = math.nan
) -> None:
    """Write the file that `dicom_bytes` describes; complete under its name or not there at all."""
    data = dicom_bytes(image, record, view, sex, age)
    with replacing(path) as temporary:
        temporary.write_bytes(data)


@dataclass(frozen=True)
class Derivation:
    """What an image was made from: the UIDs of its source's class and instance, and what was done to it.

    `bits` are those that count, of 16 where there are more than 8.
    """

    uids: tuple[str, str]
    description: str
    bits: int = 8


def dicom_bytes(
    image: np.ndarray,
    record: dict,
    view: str = "UNKNOWN",
    sex: str = "",
    age: float = math.nan,
    derivation: Derivation | None = None,
) -> bytes:
    """A synthetic radiograph as a Computed Radiography image marked SyntheticData = YES.

    The record (JSON) goes into ImageComments; equal pixels and records give equal UIDs.
    With a derivation the file refers to its source, of whose header nothing else is taken.
    Shapes: image [H, W] uint8 or uint16; age in years, NaN unknown.
    """
    if image.ndim != 2 or image.dtype not in (np.uint8, np.uint16):
        raise ValueError(f"need [H, W] uint8 or uint16, got {image.shape} {image.dtype}")
    require_pydicom()
    comments = json.dumps(record, sort_keys=True, default=str)
    digest = hashlib.sha256(np.ascontiguousarray(image).tobytes() + comments.encode()).hexdigest()
    dataset = _synthetic_header(digest, comments)
    _describe_subject(dataset, view, sex, age)
    _store_pixels(dataset, image)
    if derivation is not None:
        _name_source(dataset, derivation)
    assert set(dataset.dir()) <= WRITTEN_TAGS and not any(dataset[tag].value for tag in LEFT_EMPTY)
    file = io.BytesIO()
    dataset.save_as(file, enforce_file_format=True)
    return file.getvalue()


def _synthetic_header(digest: str, comments: str) -> Dataset:
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import ComputedRadiographyImageStorage, ExplicitVRLittleEndian, generate_uid

    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = ComputedRadiographyImageStorage
    uids = (generate_uid(entropy_srcs=[digest, level]) for level in ("study", "series", "instance"))
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.SOPInstanceUID = uids
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.SyntheticData = "YES"
    dataset.ImageType = ["DERIVED", "SECONDARY"]
    dataset.Modality = "CR"
    dataset.Manufacturer = "cxr-gen"
    dataset.BurnedInAnnotation = "NO"
    dataset.BodyPartExamined = "CHEST"
    dataset.DerivationDescription = SYNTHETIC
    dataset.ImageComments = comments[:10240]  # the longest LT value
    dataset.PatientName = f"SYNTHETIC^{digest[:8].upper()}"
    dataset.PatientID = f"SYNTHETIC-{digest[:12].upper()}"
    for empty in LEFT_EMPTY:
        setattr(dataset, empty, "")
    dataset.SeriesNumber = dataset.InstanceNumber = 1
    return dataset


def _name_source(dataset: Dataset, derivation: Derivation) -> None:
    """Refer to the image that this one was made from, by its UIDs and nothing else (PS3.3 C.7.6.1.1.4)."""
    from pydicom.dataset import Dataset

    dataset.DerivationDescription = derivation.description
    dataset.BitsStored, dataset.HighBit = derivation.bits, derivation.bits - 1
    if all(derivation.uids):
        source = Dataset()
        source.ReferencedSOPClassUID, source.ReferencedSOPInstanceUID = derivation.uids
        dataset.SourceImageSequence = [source]


def _describe_subject(dataset: Dataset, view: str, sex: str, age: float) -> None:
    dataset.PatientSex = sex if sex in ("M", "F") else ""
    if age is not None and not math.isnan(age):
        dataset.PatientAge = f"{int(age):03d}Y" if age >= 2 else f"{round(age * 12):03d}M"
    dataset.ViewPosition = VIEW_POSITIONS.get(view, "")
    # columns run to the patient's left and rows to the feet, as every frontal radiograph of the suite is shown
    dataset.PatientOrientation = ["L", "F"] if dataset.ViewPosition in ("PA", "AP") else ""


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
