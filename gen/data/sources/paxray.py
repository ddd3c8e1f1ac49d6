"""PAXRay (Seibold et al. 2022): 852 projections of CTs, frontal and lateral, with masks of up to 166 structures.

Layout of paxray_dataset.zip: paxray.json with `label_dict` (number -> structure) and lists `train`, `val`, `test` of
{"image": "images/...png", "target": "labels/...npy"}; a target is a stack of masks, one a structure. Projections of
one CT share the first part of their name; that "lateral" and "frontal" stand in the names is not confirmed here, and
views stay UNKNOWN where they do not.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import pandas as pd

from gen.data.sources.adapter import Adapter, Tables
from gen.data.sources.layout import complete, find, patients_together
from gen.errors import UserError

SOURCE = "paxray"
LICENCE = "not stated with the files; ask the authors"
VIEW_WORDS = re.compile(r"[_-]?(lateral|frontal|lat|front|pa|ap)(?=[_.-]|$)", re.I)


def read(folder: Path) -> Tables:
    """Index rows, and one masks row a structure; the pixels are projections of CT, not radiographs."""
    path = find(folder, "paxray.json", "*/paxray.json")
    try:
        content = json.loads(path.read_text())
        structures = {int(number): name for number, name in content["label_dict"].items()}
        items = [(item, split) for split in ("train", "val", "test") for item in content.get(split, [])]
        names = [(item["image"], item.get("target") or "", split) for item, split in items]
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: not PAXRay's table ({error}); unpack paxray_dataset.zip again") from None
    root = path.parent.absolute()
    table = pd.DataFrame(names, columns=["name", "target", "split"])
    table["image"] = [str(root / name) for name in table["name"]]
    stems = [Path(name).stem for name in table["name"]]
    rows = pd.DataFrame(
        {
            "image": table["image"],
            "patient_id": [VIEW_WORDS.sub("", stem) for stem in stems],
            "study_id": stems,
            "view": [_view(stem) for stem in stems],
            "split": table["split"],
        }
    )
    return Tables(complete(patients_together(rows), SOURCE, LICENCE), masks=_masks(root, table, structures))


def _view(stem: str) -> str:
    word = VIEW_WORDS.search(stem)
    return word[1] if word else ""


def _masks(root: Path, table: pd.DataFrame, structures: dict[int, str]) -> pd.DataFrame:
    kept = table[table["target"] != ""]
    layers = pd.DataFrame({"channel": list(structures), "structure": list(structures.values()), "rle": ""})
    masks = pd.DataFrame({"image": kept["image"], "mask": [str(root / target) for target in kept["target"]]})
    return masks.merge(layers, how="cross")


ADAPTER = Adapter(
    read=read,
    title="PAXRay",
    access="open (authors' page)",
    licence=LICENCE,
    telltales=("paxray.json", "*/paxray.json"),
)
