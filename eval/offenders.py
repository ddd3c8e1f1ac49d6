"""The synthetic images nearest to training radiographs, shown and listed; on a page to share, without what may not be.

Whether a radiograph may be shown is what its row says of passing copies on (`may_ship`); without that column none may.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from gen.data.prompts import prompt_from_row

from .context import Context
from .copies import Neighbours
from .plots import gallery
from .section import Plot, Table

SHOWN = 12
PICTURE = 128  # pixels
WITHHELD = "not shown"


def may_be_shown(context: Context, rows: pd.DataFrame) -> np.ndarray:
    """Which real radiographs, and what they are called, may stand on this page. Shapes: -> [N] bool."""
    if not context.share:
        return np.ones(len(rows), dtype=bool)
    return rows["may_ship"].to_numpy(dtype=bool) if "may_ship" in rows else np.zeros(len(rows), dtype=bool)


def worst(found: Neighbours) -> np.ndarray:
    """Synthetic rows nearest to a training image, nearest first."""
    return np.argsort(found.made, kind="stable")[:SHOWN]


def side_by_side(context: Context, found: Neighbours, copies: set[int]) -> Plot:
    """The worst offenders above their nearest training images.

    What may not be shown is grey; so is a copy of it (`copies` are synthetic rows), which shows the same.
    """
    rows = worst(found)
    train = context.train.iloc[found.made_at[rows, 0]]
    shown = may_be_shown(context, train)
    near = found.limit.flags(found.made[rows]) | np.isin(rows, list(copies))
    made = _greyed(context.pixels(context.synthetic.iloc[rows], PICTURE), shown | ~near)
    theirs = _greyed(context.pixels(train, PICTURE), shown)
    captions = [f"{found.made[row] / found.limit.threshold:.2f}" for row in rows]
    caption = (
        "Synthetic radiographs nearest to a training image, each above that image; the number is its distance in units "
        "of the copy threshold, below 1 counts as a near copy"
    )
    grey = "" if shown.all() else f". Grey: {(~shown).sum()} radiographs that may not be passed on, and near copies"
    return Plot(caption + grey, gallery(list(zip(made, theirs, captions, strict=True))))


def listed(context: Context, found: Neighbours) -> Table:
    """The same as a table of files."""
    rows = worst(found)
    train = context.train.iloc[found.made_at[rows, 0]]
    cells = zip(_names(context, train), rows, strict=True)
    lines = [
        (_file(context.synthetic, row), name, f"{found.made[row]:.4g}", _said(context, row)) for name, row in cells
    ]
    return Table("Nearest to training images", ("synthetic", "training image", "distance", "prompt"), lines)


def copy_table(context: Context, found: list[tuple[int, int, float]]) -> Table:
    """(synthetic row, training row, correlation) as files."""
    names = _names(context, context.train.iloc[[b for _, b, _ in found]])
    lines = [
        (_file(context.synthetic, a), name, f"{score:.3f}") for (a, _, score), name in zip(found, names, strict=True)
    ]
    return Table("Copies", ("synthetic", "training image", "correlation"), lines)


def withheld_note(context: Context) -> str:
    """What a page to share leaves out; empty for one that is not."""
    if not context.share:
        return ""
    count = int((~may_be_shown(context, context.train)).sum())
    why = "" if "may_ship" in context.train else ": the index does not say which may be (column may_ship)"
    return (
        f"This page is to be shared: {count} of {len(context.train)} training radiographs may not be passed on{why}. "
        "Their pictures and file names are left out, near copies of them too, and prompts stand in plain words."
    )


def _names(context: Context, rows: pd.DataFrame) -> list[str]:
    files = (Path(image).name for image in rows["image"])
    return [name if shown else WITHHELD for name, shown in zip(files, may_be_shown(context, rows), strict=True)]


def _file(table: pd.DataFrame, row: int) -> str:
    return Path(table["image"].iloc[row]).name


def _said(context: Context, row: int) -> str:
    """The prompt, cut short; on a page to share what it asks for, for a prompt may be somebody's report."""
    one = context.synthetic.iloc[row]
    prompt = prompt_from_row(one.to_dict()) if context.share else str(one["prompt"])
    return prompt if len(prompt) <= 80 else f"{prompt[:77]}..."


def _greyed(images: np.ndarray, shown: np.ndarray) -> np.ndarray:
    return np.where(shown[:, None, None], images, np.uint8(128))
