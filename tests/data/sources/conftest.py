"""Miniature copies of data sets in their official layouts."""

from __future__ import annotations

import gzip
import json
import textwrap
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

IMAGES = (".png", ".jpg", ".jpeg")


@pytest.fixture
def tree(tmp_path: Path) -> Callable[..., Path]:
    """Write files below a folder: text, JSON, arrays, and images (content: side) or DICOM headers (content: tags)."""

    def write(files: dict[str, object], name: str = "set") -> Path:
        for relative, content in files.items():
            path = tmp_path / name / relative
            path.parent.mkdir(parents=True, exist_ok=True)
            write_one(path, content)
        return tmp_path / name

    return write


def write_one(path: Path, content: object) -> None:
    if path.suffix in (".dcm", ".dicom"):
        write_dicom(path, content)
    elif path.suffix == ".npy":
        np.save(path, content)
    elif path.suffix in IMAGES:
        Image.fromarray(noise(path, content)).save(path)
    elif isinstance(content, bytes):
        path.write_bytes(content)
    else:
        text = content if isinstance(content, str) else json.dumps(content)
        text = textwrap.dedent(text).lstrip("\n")
        path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())


def noise(path: Path, side: object) -> np.ndarray:
    rng = np.random.default_rng(sum(path.name.encode()))
    return rng.integers(0, 256, (side, side), dtype=np.uint8)


def write_dicom(path: Path, tags: dict[str, object]) -> None:
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, generate_uid

    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = "1.2.840.10008.5.1.4.1.1.1"
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = generate_uid(entropy_srcs=[path.name])
    dataset.Modality, dataset.PhotometricInterpretation = "CR", "MONOCHROME2"
    dataset.Rows = dataset.Columns = 8
    dataset.SamplesPerPixel, dataset.PixelRepresentation = 1, 0
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit = 7
    dataset.PixelData = noise(path, 8).tobytes()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # RSNA writes ages as "51"
        for tag, value in tags.items():
            setattr(dataset, tag, value)
        dataset.save_as(path, enforce_file_format=True)
