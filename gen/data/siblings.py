"""Other images of the same study, as a column of addresses that links name."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pandas as pd

from gen.data.linked import SEPARATOR

STUDY = ("source", "patient_id", "study_id")


def with_siblings(rows: pd.DataFrame, column: str, most: int, carried: Sequence[str] = ()) -> pd.DataFrame:
    """The rows with `column`, the addresses of at most so many other images of each row's study, and what they are.

    `column_NAME` says the siblings' value of every carried column in the same order, empty where it is unknown.
    A row without a study_id has none.
    """
    names = {"image": column, **{name: f"{column}_{name}" for name in carried}}
    cells = {name: [""] * len(rows) for name in names.values()}
    keys = [name for name in STUDY if name in rows]
    alone = ~rows.duplicated(keys, keep=False) | (rows.get("study_id", "") == "")
    values = {name: [_text(value) for value in rows[name]] for name in names}
    places = pd.Series(range(len(rows)), index=rows.index)[~alone]
    for study in places.groupby([rows.loc[~alone, key] for key in keys], sort=False):
        own = study[1].tolist()
        for place in own:
            others = [other for other in own if other != place][:most]
            for name, target in names.items():
                cells[target][place] = SEPARATOR.join(values[name][other] for other in others)
    return rows.assign(**cells)


def _text(value: object) -> str:
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:g}"
    return str(value)
