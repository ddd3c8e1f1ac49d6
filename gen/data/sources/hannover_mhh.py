"""Hannover Medical School COVID-19 repository: inpatients in series, offset_days counted from admission."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from gen.data.sources.values import read_metadata


def rows(folder: Path) -> pd.DataFrame:
    """Index rows; ages are not published."""
    return read_metadata(folder, "hannover_mhh")
