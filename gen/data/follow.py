"""Pairs of radiographs of a patient: every image with an earlier one, the hours between them and the events."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from gen.data.annotations import beside
from gen.data.events import EventTable, read_events, write_cell
from gen.schema import DataConfig
from gen.schema.tasks import FollowConfig
from gen.seeds import mix

FRONTAL = ("PA", "AP", "AP SUPINE")
ORDERS = ("offset_days", "followup_number")
ADDED = ("prior", "events", "gap_hours", "prior_findings", "target_findings")


def with_priors(rows: pd.DataFrame, config: DataConfig) -> pd.DataFrame:
    """One row a pair, which is the later image's row with the columns of ADDED.

    Findings and report, which tell what is to be predicted, are taken out of what becomes a prompt; a sentence on the
    course that the user knows beforehand may stand in a column `progression`.
    """
    path = beside(config.index, "events") if config.events is None else config.events
    events = EventTable(read_events(path)) if config.events is not None or Path(path).is_file() else None
    pairs = [_pair(*pair, events, config.follow.history) for pair in _pairs(rows, config.follow)]
    found = [pair for pair in pairs for _ in range(_times(pair, config.follow))]
    found += _still(pairs, round(len(found) * config.follow.still / (1 - config.follow.still)))
    return pd.DataFrame(found, columns=list(dict.fromkeys([*rows.columns, *ADDED])))


def _times(pair: dict, follow: FollowConfig) -> int:
    """How often a pair comes: in training those with events more often, for where nothing is done little is learned."""
    return follow.eventful if pair["events"] != "[]" and pair.get("split", "train") == "train" else 1


def _pairs(rows: pd.DataFrame, follow: FollowConfig) -> Iterator[tuple[dict, dict, float]]:
    """Prior, target and hours between them (NaN where only their order is known), patient by patient."""
    frontal = rows[rows["view"].isin(FRONTAL)] if "view" in rows else rows
    for _, group in frontal.groupby(["source", "patient_id"] if "source" in rows else "patient_id", sort=False):
        name = next((name for name in ORDERS if name in group and bool(group[name].notna().all())), None)
        if name is None or len(group) == 1:
            continue
        records = group.sort_values(name, kind="stable").to_dict("records")
        pairs = itertools.pairwise(records) if follow.consecutive else itertools.combinations(records, 2)
        for prior, target in pairs:
            days = target[name] - prior[name]
            gap = 24.0 * days if name == "offset_days" else math.nan
            if days > 0 and not gap > follow.farthest:
                yield prior, target, gap


def _pair(prior: dict, target: dict, gap: float, events: EventTable | None, history: float) -> dict:
    known = [] if events is None else events.between(prior, target, gap, history)
    told = {"findings": "", "report": target.get("progression", ""), "prompt": ""}
    return {
        **target,
        **{name: value for name, value in told.items() if name in target},
        "prior": prior["image"],
        "events": write_cell(known),
        "gap_hours": gap,
        "prior_findings": prior.get("findings", ""),
        "target_findings": target.get("findings", ""),
    }


def _still(pairs: list[dict], count: int) -> list[dict]:
    """So many null pairs, of some of the later images with themselves."""
    chosen = sorted(pairs, key=lambda pair: mix("still", pair["image"], pair["prior"]))
    chosen = list(itertools.islice(itertools.cycle(chosen), count)) if chosen else []
    same = {"events": "[]"}
    return [{**p, **same, "prior": p["image"], "prior_findings": p["target_findings"]} for p in chosen]
