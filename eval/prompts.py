"""Prompts for an evaluation: what the held-out radiographs of a split show, so that like is compared with like."""

from __future__ import annotations

import csv
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from gen import seeds
from gen.data.index import ALLOWED, read_index
from gen.data.prompts import prompt_from_row
from gen.errors import UserError
from gen.files import replacing

Wording = Literal["plain", "templates"]
SAID = ("view", "sex", "age", "age_group", "findings")  # never the report: no word of a held-out one leaves the index
COLUMNS = ("prompt", "view", "sex", "age", "findings", "n")


def held_out_rows(index: Path, split: str, may_ship_only: bool, most: int | None, seed: int) -> pd.DataFrame:
    """Rows of a split in the index's order, at random where there are more than `most`.

    Errors: UserError where none are left.
    """
    rows = read_index(index, splits=[split])
    if may_ship_only:
        rows = rows[rows["may_ship"]] if "may_ship" in rows else rows.iloc[:0]
    if rows.empty:
        which = " that may ship" if may_ship_only else ""
        raise UserError(f"{index}: no rows{which} in split {split!r}; give another --split")
    if most is not None and most < len(rows):
        chosen = np.random.default_rng(seeds.mix(seed, "evaluation rows")).permutation(len(rows))[:most]
        rows = rows.iloc[np.sort(chosen)]
    return rows.reset_index(drop=True)


def prompt_rows(rows: pd.DataFrame, each: int, wording: Wording, seed: int) -> Iterator[dict[str, str | int]]:
    """A row of the table for every radiograph, its view, sex, age and findings in words; `n` is `each`."""
    for number, row in enumerate(rows.to_dict("records")):
        said = {name: row[name] for name in SAID if name in row}
        rng = random.Random(seeds.mix(seed, "words", number)) if wording == "templates" else None
        prompt = prompt_from_row(said, rng, drop_view=0, drop_sex=0, drop_age=0, drop_findings=0, use_report=0)
        cells = {name: "" if pd.isna(value := said.get(name, "")) else value for name in COLUMNS[1:-1]}
        cells["view"] = "" if cells["view"] == "UNKNOWN" else cells["view"]
        yield {"prompt": prompt, **cells, "n": each}


def write_prompts(
    index: Path, out: Path, split: str, each: int, may_ship_only: bool, most: int | None, wording: Wording, seed: int
) -> int:
    """Write the CSV that `cxr-sample image --table` draws; returns the number of its rows.

    Errors: UserError for a split that does not exist or is the generator's own, and as `read_index`.
    """
    if split not in ALLOWED["split"][1:]:
        raise UserError(f"--split {split}: {' or '.join(ALLOWED['split'][1:])}; of the training split make a plan")
    rows = held_out_rows(index, split, may_ship_only, most, seed)
    with replacing(out) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(prompt_rows(rows, each, wording, seed))
    return len(rows)
