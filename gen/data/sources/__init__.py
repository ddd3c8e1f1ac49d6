"""Public data sets as index rows: one short adapter each, `rows(folder) -> table with the index columns`."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd

from gen.data.sources import covid_chestxray, hannover_mhh, kermany_paediatric, nih_cxr14

SOURCES: dict[str, Callable[[Path], pd.DataFrame]] = {
    "nih_cxr14": nih_cxr14.rows,
    "nih_cxr14_more": nih_cxr14.rows,
    "hannover_mhh": hannover_mhh.rows,
    "kermany_paediatric": kermany_paediatric.rows,
    "covid_chestxray": covid_chestxray.rows,
}
