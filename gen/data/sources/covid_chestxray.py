"""covid-chestxray-dataset (Cohen et al. 2020): figures of articles, four views, free-text notes, a licence an image."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from gen.data.sources.values import read_metadata


def rows(folder: Path) -> pd.DataFrame:
    """Index rows; frontal images of unstated direction have the view UNKNOWN."""
    return read_metadata(folder, "covid_chestxray")
