"""Held-out pairs of patients' images, each with its events and another patient's."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gen.errors import UserError
from gen.seeds import mix

if TYPE_CHECKING:
    import pandas as pd

    from gen import CXRPipeline
    from gen.schema.tasks import FollowConfig

NAMED = 6  # unknown codes that are named


def held_out_pairs(
    index: Path, events: Path | None, follow: FollowConfig, split: str, source: str | None = None
) -> pd.DataFrame:
    """Pairs of some splits, and if wanted of some sources, as training would see them; each with its prior's study.

    Errors: UserError where there is no pair.
    """
    from gen.data.follow import with_priors
    from gen.data.index import read_index
    from gen.schema import DataConfig

    rows = read_index(index, splits=split.split(","))
    if source is not None:
        rows = _of_sources(rows, source.split(","), f"{index}: split {split!r}")
    pairs = with_priors(rows, DataConfig(index=index, events=events, resolution=8, follow=follow))
    if pairs.empty:
        raise UserError(f"{index}: no patient of split {split!r} has two frontal images in a known order")
    studies = dict(zip(rows["image"], rows.get("study_id", rows["patient_id"]), strict=True))
    return pairs.assign(prior_study=pairs["prior"].map(studies))


def prepared(pairs: pd.DataFrame, n: int | None, seed: int) -> pd.DataFrame:
    """`n` of the pairs at random, or all, named, each with another patient's events in `events_wrong`."""
    pairs = pairs.assign(name=_names(pairs))
    if n is not None and n < len(pairs):
        pairs = pairs.sample(n, random_state=seed).sort_index()
    return pairs.assign(events_wrong=exchanged(pairs, seed)).reset_index(drop=True)


def exchanged(pairs: pd.DataFrame, seed: int) -> list[str]:
    """Events of the next patient on a ring in random order.

    Among pairs of the same source over as many hours, or where these are one patient's, of the source, or else all.
    """
    rng, cells = np.random.default_rng(seed), pairs["events"].copy()
    sources = pairs["source"] if "source" in pairs else pairs["gap_hours"] * 0
    for _, alike in pairs.groupby([sources.fillna(0), pairs["gap_hours"].fillna(-1)], sort=True):
        wider = (alike, pairs[sources.fillna(0) == sources.fillna(0)[alike.index[0]]], pairs)
        group = next((one for one in wider if one["patient_id"].nunique() > 1), pairs)
        patients = list(rng.permutation(sorted(group["patient_id"].unique())))
        following = dict(zip(patients, [*patients[1:], patients[0]], strict=True))
        first = group.drop_duplicates("patient_id").set_index("patient_id")["events"]
        cells.loc[alike.index] = [first[following[patient]] for patient in alike["patient_id"]]
    return list(cells)


def _names(pairs: pd.DataFrame) -> pd.Series:
    """File names by study; by the two files besides where an index tells no studies, or several images of one."""
    names = (pairs.get("study_id", pairs["patient_id"]) + "_from_" + pairs["prior_study"]).str.replace("/", "_")
    marks = [
        f"_{mix(Path(a).name, Path(b).name):016x}"[:9] for a, b in zip(pairs["image"], pairs["prior"], strict=True)
    ]
    return names.where(~names.duplicated(keep=False), names + marks)


def fingerprint(pairs: pd.DataFrame) -> str:
    """12 digits of the pairs' files by name, in their order, and of their events."""
    names = ([Path(file).name for file in pairs[column]] for column in ("image", "prior"))
    said = "\n".join("\t".join(row) for row in zip(*names, pairs["events"], pairs["events_wrong"], strict=True))
    return hashlib.sha256(said.encode()).hexdigest()[:12]


def unread(cells: Iterable[str], pipeline: CXRPipeline) -> list[str]:
    """`unread_codes` of the events in cells of a table."""
    from gen.data.events import read_cell

    return unread_codes([event.code for cell in cells for event in read_cell(cell)], pipeline)


def unread_codes(codes: Sequence[str], pipeline: CXRPipeline) -> list[str]:
    """A line for the user where a model that reads codes does not know some of those of the events."""
    config = getattr(pipeline.task.conditioner, "config", None)
    if getattr(config, "described", None) != "codes":
        return []
    unknown = sorted({code for code in codes if code not in config.vocabulary})
    if not unknown:
        return []
    count = sum(code in unknown for code in codes)
    named = ", ".join(unknown[:NAMED]) + (", ..." if len(unknown) > NAMED else "")
    known = ", ".join(config.vocabulary) or "none"
    return [
        f"{count} of {len(codes)} events have codes that {pipeline.config.name} was not trained with ({named}); "
        f"it takes them all for one unknown event, without their values (it knows: {known})"
    ]


def _of_sources(rows: pd.DataFrame, wanted: list[str], where: str) -> pd.DataFrame:
    known = sorted(set(rows["source"])) if "source" in rows else []
    for name in wanted:
        if name not in known:
            raise UserError(f"{where} has no rows of source {name!r}; choose from {', '.join(known) or 'none'}")
    return rows[rows["source"].isin(wanted)]
