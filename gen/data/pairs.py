"""Rows of an index that are pairs of a radiograph and its soft-tissue image."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

from gen.data.index import read_index
from gen.data.pair_looks import grey_levels, write_varied
from gen.errors import UserError

LENDERS = 200  # real radiographs whose grey levels are taken over


def paired_rows(rows: pd.DataFrame) -> pd.DataFrame:
    """Frontal rows with a soft-tissue image; the others are left out."""
    if "soft" not in rows:
        return rows.iloc[:0]
    frontal = rows["view"].fillna("") != "LATERAL" if "view" in rows else True
    return rows[(rows["soft"].fillna("") != "") & frontal]


def vary_index(index: Path, out: Path, like: Path | None, times: int, seed: int, plain: bool = True) -> pd.DataFrame:
    """Write the training pairs of an index in other looks (gen.data.pair_looks); returns the new index.

    Errors: UserError for an index without pairs, or without real radiographs to be alike.
    """
    rows = paired_rows(read_index(index))
    training = rows[rows["split"] == "train"]
    if training.empty:
        raise UserError(f"{index}: no row of split 'train' has an image in column 'soft'; give an index of pairs")
    made = write_varied(training, out, None if like is None else _greys(like, seed), times, seed, plain)
    new = list(tqdm(made, total=len(training) * (times + plain), desc="pairs", unit="", disable=None))
    return pd.concat([pd.DataFrame(new), rows[rows["split"] != "train"]], ignore_index=True)


def _greys(like: Path, seed: int) -> np.ndarray:
    rows = read_index(like, splits=["train"])
    shippable = rows[rows["may_ship"].astype(bool)] if "may_ship" in rows else rows
    frontal = shippable[shippable["view"] != "LATERAL"] if "view" in shippable else shippable
    if frontal.empty:
        raise UserError(f"{like}: no frontal radiograph of split 'train' with may_ship; give another index")
    return grey_levels(frontal["image"].sample(min(LENDERS, len(frontal)), random_state=seed).tolist())
