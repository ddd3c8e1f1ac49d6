"""Where the development radiographs lie, and tables small enough to read."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    folder = Path(os.environ.get("CXR_DATA", REPOSITORY.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip("the development radiographs are not here")
    return folder


@pytest.fixture
def table(tmp_path: Path) -> pd.DataFrame:
    """Four images of three patients, with files."""
    rng = np.random.default_rng(0)
    rows = []
    for number, (patient, split) in enumerate([("007", "train"), ("007", "train"), ("b", "val"), ("c", "test")]):
        path = tmp_path / "images" / f"{number}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (12, 10), dtype=np.uint8)).save(path)
        rows.append({"image": str(path), "patient_id": patient, "study_id": f"s{number}", "split": split})
    columns = {"view": ["PA", "AP", "LATERAL", "UNKNOWN"], "sex": ["M", "F", "", "M"], "age": [64.0, 3.0, np.nan, 50.0]}
    return pd.DataFrame(rows).assign(**columns, findings="No Finding", may_ship=[True, False, True, True])
