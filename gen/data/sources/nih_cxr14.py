"""NIH ChestX-ray14 (Wang et al. 2017): adults and a few children, PA and AP, 14 text-mined findings."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from gen.data.sources.values import read_metadata


def rows(folder: Path) -> pd.DataFrame:
    """Index rows; "inverted" marks the images that the set stores with dark bone."""
    return read_metadata(folder, "nih_cxr14")
