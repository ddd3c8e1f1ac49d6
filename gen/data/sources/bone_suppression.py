"""Bone suppression pairs: SZCH-X-Rays (818 or 741 dual-energy pairs), or a prepared folder.

Layout of the authors' code: CXR/<n>.png and BS/<n>.png, radiograph and soft-tissue image of one exposure; Masked_CXR
and Mask are left out. The set is private but for three sample pairs; patients are not named, so a pair counts as one,
and there is no official split that is public. The prepared folder has metadata.csv with a column `soft`.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from gen.data.sources.adapter import Adapter, Tables
from gen.data.sources.layout import complete, images_by_name
from gen.data.sources.prepared import is_prepared, read_prepared
from gen.errors import UserError

SOURCE = "szch_xrays"
LICENCE = "hospital data of the authors (three sample pairs: MIT)"


def read(folder: Path) -> Tables:
    """Index rows with `soft`, the bone-free image of the pair."""
    if is_prepared(folder):
        return read_prepared(folder, "bone_suppression")
    for part in ("CXR", "BS"):
        if not (folder / part).is_dir():
            raise UserError(f"{folder / part}: not found; give the folder that holds CXR/ and BS/")
    soft = images_by_name(folder / "BS")
    paired = {name: path for name, path in sorted(images_by_name(folder / "CXR").items()) if name in soft}
    if not paired:
        raise UserError(f"{folder}: no file of CXR/ has a twin of the same name in BS/; pair them by name")
    stems = [f"szch_{Path(name).stem}" for name in paired]
    rows = pd.DataFrame({"image": list(paired.values()), "patient_id": stems, "study_id": stems, "view": "PA"})
    return Tables(complete(rows.assign(soft=[soft[name] for name in paired]), SOURCE, LICENCE))


ADAPTER = Adapter(
    read=read,
    title="SZCH-X-Rays and other bone suppression pairs",
    access="private; three sample pairs open (GitHub)",
    licence=LICENCE,
    telltales=("BS/*.png", "metadata.csv#soft"),
)
