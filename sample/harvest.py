"""An index of a finished set: synthetic radiographs as rows like any others, to train on or to look at.

The way of Privacy Distillation (arXiv 2306.01322): draw with a model that has seen patients, drop what a gate finds
re-identifiable, and train a second model on the rest alone.
"""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
import pyarrow.compute as pc

from gen.data.index import assign_splits, write_index
from gen.errors import UserError

from .conditions import OWN_WORDS
from .parts import read_manifest
from .row import ACCEPTED
from .store import Folder
from .writers import LOOSE

LICENCE = "synthetic; as the data that its model was trained on"
ORIGIN = re.compile(r" from ([0-9a-f]{12})(?:,|$)")  # as sample/balance.py names the patient behind a condition
COLUMNS = ("prompt", "view", "sex", "age", "findings", "source", "model", "model_hash", "file", "format", "sha256")


def write_harvest(store: Folder, out: Path, may_ship: bool, validation: float, seed: int) -> int:
    """Write an index of the accepted images of a set and return their number.

    Images whose conditions came from one patient are one patient here too, and so stay in one split; no row is in
    the test split, for nothing is proved on synthetic images. `may_ship`: whether the licences of the data behind the
    model allow copies.
    Errors: UserError for a set of a packed format, or without an accepted image.
    """
    table = read_manifest(store, COLUMNS)
    rows = table.filter(pc.equal(table["status"], ACCEPTED)).to_pandas()
    if rows.empty:
        raise UserError(f"{store.address}: no accepted image is in its manifest; draw the set first")
    packed = sorted(set(rows["format"]) - set(LOOSE))
    if packed:
        raise UserError(f"{store.address}: images are in {packed[0]} files; an index needs png, png16 or dicom")
    index = _index(rows, store.path.absolute(), may_ship)
    write_index(assign_splits(index, seed, (1 - validation, validation, 0.0)), out)
    return len(index)


def _index(rows: pd.DataFrame, folder: Path, may_ship: bool) -> pd.DataFrame:
    origins = [ORIGIN.search(source) for source in rows["source"]]
    own_words = rows["source"].str.endswith(OWN_WORDS)
    return pd.DataFrame(
        {
            "image": [str(folder / file) for file in rows["file"]],
            "patient_id": [
                f"synthetic_{match[1] if match else f'{hash_}_{id_}'}"
                for match, hash_, id_ in zip(origins, rows["model_hash"], rows["id"], strict=True)
            ],
            "study_id": [f"{hash_}_{id_}" for hash_, id_ in zip(rows["model_hash"], rows["id"], strict=True)],
            "view": rows["view"].replace("", "UNKNOWN"),
            "sex": rows["sex"],
            "age": rows["age"].astype(float),
            "findings": rows["findings"],
            "report": rows["prompt"].where(own_words, ""),
            "source": "synthetic",
            "licence": LICENCE,
            "may_ship": may_ship,
            "inverted": False,
            "synthetic": True,
            "model": rows["model"],
            "sha256": rows["sha256"],
        }
    )
