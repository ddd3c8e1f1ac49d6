"""Public data sets as index rows, one short adapter each, and how `auto` tells them apart."""

from __future__ import annotations

from pathlib import Path

from gen.data.sources import (
    bone_suppression,
    chexpert,
    chexpert_plus,
    covid_chestxray,
    hannover_mhh,
    jsrt,
    kermany_paediatric,
    mimic_cxr,
    nih_cxr14,
    openi,
    padchest,
    paxray,
    rsna_pneumonia,
    siim_pneumothorax,
    tbx11k,
    vindr_cxr,
)
from gen.data.sources.adapter import Adapter, recognised
from gen.errors import UserError

SOURCES: dict[str, Adapter] = {
    "mimic_cxr": mimic_cxr.ADAPTER,
    "chexpert": chexpert.ADAPTER,
    "chexpert_plus": chexpert_plus.ADAPTER,
    "nih_cxr14": nih_cxr14.ADAPTER,
    "nih_cxr14_more": nih_cxr14.ADAPTER,
    "vindr_cxr": vindr_cxr.ADAPTER,
    "padchest": padchest.ADAPTER,
    "openi": openi.ADAPTER,
    "rsna_pneumonia": rsna_pneumonia.ADAPTER,
    "siim_pneumothorax": siim_pneumothorax.ADAPTER,
    "tbx11k": tbx11k.ADAPTER,
    "paxray": paxray.ADAPTER,
    "kermany_paediatric": kermany_paediatric.ADAPTER,
    "covid_chestxray": covid_chestxray.ADAPTER,
    "hannover_mhh": hannover_mhh.ADAPTER,
    "jsrt": jsrt.ADAPTER,
    "bone_suppression": bone_suppression.ADAPTER,
}


def detect(folder: Path) -> str:
    """The source that a folder holds, by its name or else by the files that give it away.

    Errors: UserError where no source, or more than one, is recognised.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; give the folder that holds the data set")
    name = folder.absolute().name
    if name in SOURCES:
        return name
    # two names may share an adapter; the first counts
    names = reversed(SOURCES.items())
    found = {adapter.title: name for name, adapter in names if recognised(folder, adapter.telltales)}
    if len(found) != 1:
        seen = " and ".join(found.values()) or "none of the known sources"
        raise UserError(f"{folder}: looks like {seen}; name one of {', '.join(SOURCES)}, or `folder` with --csv")
    return next(iter(found.values()))
