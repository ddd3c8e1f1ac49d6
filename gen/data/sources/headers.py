"""What DICOM headers say about view, sex, age and size, for the sets whose tables do not."""

from __future__ import annotations

import warnings
from collections.abc import Iterable

import pandas as pd

from gen.errors import UserError

TAGS = {
    "patient": "PatientID",
    "view": "ViewPosition",
    "sex": "PatientSex",
    "age": "PatientAge",
    "width": "Columns",
    "height": "Rows",
}


def dicom_headers(paths: Iterable[str]) -> pd.DataFrame:
    """Columns patient, view, sex, age, width, height as text, one row a file; blank where a file or a tag is missing.

    Errors: UserError where pydicom is not installed.
    """
    try:
        import pydicom  # noqa: F401
    except ImportError:
        raise UserError("DICOM files need pydicom; install it with: pip install cxr-gen[dicom]") from None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # ages such as "51" offend against the standard and are read all the same
        return pd.DataFrame([_header(path) for path in paths], columns=list(TAGS), dtype=str)


def _header(path: str) -> list[str]:
    from pydicom import dcmread

    try:
        dataset = dcmread(path, stop_before_pixels=True, specific_tags=list(TAGS.values()))
    except Exception:  # a damaged or absent file is the check's to report, and the parser fails in many ways
        return [""] * len(TAGS)
    return [str(dataset.get(tag) or "") for tag in TAGS.values()]
