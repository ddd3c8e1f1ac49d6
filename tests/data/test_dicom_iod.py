"""Written DICOM files against dicom3tools' validator, a program that shares nothing with ours."""

import math
import shutil
import subprocess

import numpy as np
import pytest

from gen.data.dicom_writing import write_synthetic_dicom

pytest.importorskip("pydicom")
pytestmark = pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="dciodvfy is missing: apt install dicom3tools")
# Synthetic Data came into the standard in 2023; an older dciodvfy says of it alone that it knows no such attribute
TOO_NEW = "not a recognized standard attribute - (0x0008,0x001c)"


def errors(path) -> list[str]:
    done = subprocess.run(["dciodvfy", str(path)], capture_output=True, text=True)
    lines = (done.stdout + done.stderr).splitlines()
    assert "CRImage" in lines
    return [line for line in lines if line.startswith("Error") and TOO_NEW not in line]


@pytest.mark.parametrize("view", ["PA", "AP", "AP SUPINE", "LATERAL", "UNKNOWN"])
@pytest.mark.parametrize(
    ("dtype", "sex", "age"), [(np.uint8, "F", 64.0), (np.uint16, "", math.nan), (np.uint8, "M", 0.5)]
)
def test_no_error(tmp_path, view, dtype, sex, age):
    pixels = np.random.default_rng(0).integers(0, np.iinfo(dtype).max, (63, 61), dtype=dtype)
    write_synthetic_dicom(tmp_path / "s.dcm", pixels, {"prompt": "épanchement", "seed": 7}, view, sex, age)
    assert errors(tmp_path / "s.dcm") == []


def test_validator_finds_what_is_wrong(tmp_path):
    import pydicom

    write_synthetic_dicom(tmp_path / "s.dcm", np.zeros((8, 8), np.uint8), {"seed": 7}, "PA", "F", 64.0)
    dataset = pydicom.dcmread(tmp_path / "s.dcm")
    del dataset.Modality
    dataset.save_as(tmp_path / "wrong.dcm")
    assert errors(tmp_path / "wrong.dcm")
