"""Kermany et al. 2018: children of one to five years, normal, bacterial or viral pneumonia, AP."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from gen.data.sources.values import read_metadata


def rows(folder: Path) -> pd.DataFrame:
    """Index rows; no child's age or sex is published, the group is known."""
    return read_metadata(folder, "kermany_paediatric").assign(age_group="child")
