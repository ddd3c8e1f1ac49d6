"""What a utility study is made of: real and synthetic training images with their truth, and its test sets."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from gen.data.index import read_index
from gen.errors import UserError

from .context import Context
from .readings import FRONTAL
from .section import NotMeasurable
from .utility_plan import EVERY, Known, UtilityConfig
from .utility_targets import Target, known_names

IN_DOMAIN = "in-domain"


@dataclass(frozen=True)
class HeldOut:
    """Held-out images. `columns` are those of `names` in a prediction. Shapes: truth [N, len(names), ...]."""

    name: str
    rows: pd.DataFrame
    names: list[str]
    columns: list[int]
    truth: np.ndarray

    @property
    def patients(self) -> np.ndarray:
        return self.rows["patient_id"].to_numpy()


def material(context: Context, config: UtilityConfig, target: Target) -> tuple[Known, list[HeldOut], tuple[str, ...]]:
    """Real training images, test sets, and the names that can be judged in-domain.

    Errors: UserError for a source or a name without rows, NotMeasurable where nothing is held out often enough.
    """
    index = context.real_index
    known = _usable(context.real[context.real["view"].isin(FRONTAL)], index, target)
    sources = known["source"] if "source" in known else pd.Series("", index=known.index)
    held_out = known["split"].isin(config.splits)
    own = _own_source(config, known, sources)
    real = known[own & (known["split"] == "train")].reset_index(drop=True)
    inside = known[own & held_out].reset_index(drop=True)
    if real.empty or inside.empty:
        said = f"source {config.source!r}" if config.source else "the index"
        kind = "" if config.target == "labels" else f" with {config.target}"
        raise UserError(f"utility: {said} has {len(real)} training and {len(inside)} held-out rows{kind}")
    wanted = known_names(target, known[own], index, config.names)
    names = tuple(target.judged(target.truth(inside, index, wanted), wanted, config.least))
    if not names:
        raise NotMeasurable(_too_few(config, target))
    outside = {f"external: {name}": (known[(sources == name) & held_out], index) for name in sorted(set(sources[~own]))}
    if config.external is not None:
        rows = read_index(config.external)
        rows = _usable(rows[rows["view"].isin(FRONTAL)], config.external, target)
        outside[f"external: {config.external.stem}"] = (rows, config.external)
    tests = [
        _test(name, *of, names, config.least, target) for name, of in {IN_DOMAIN: (inside, index), **outside}.items()
    ]
    return _known(real, index, target, names), tests, names


def synthetic_material(context: Context, target: Target, names: tuple[str, ...]) -> Known:
    """Synthetic images with their truth.

    Errors: UserError for a set without masks or boxes, or whose masks or boxes are of other names.
    """
    rows, index = context.synthetic, context.synthetic_index
    rows = rows[rows["view"].isin([*FRONTAL, "UNKNOWN"])].reset_index(drop=True)
    known = _known(rows, index, target, names)
    if len(rows) and not known.shown.any():
        raise UserError(f"{index}: no synthetic image shows any {target.name} of {', '.join(names)}")
    return known


def _usable(rows: pd.DataFrame, index: Path, target: Target) -> pd.DataFrame:
    return rows[target.usable(rows, index)]


def _own_source(config: UtilityConfig, known: pd.DataFrame, sources: pd.Series) -> pd.Series:
    if config.source == EVERY:
        return sources == sources
    largest = sources[known["split"] == "train"].mode()
    return sources == (config.source or (str(largest[0]) if len(largest) else ""))


def _known(rows: pd.DataFrame, index: Path, target: Target, names: tuple[str, ...]) -> Known:
    truth = target.truth(rows, index, list(names))
    return Known(rows, truth, target.counts(truth) > 0)


def _test(name: str, rows: pd.DataFrame, index: Path, names: tuple[str, ...], least: int, target: Target) -> HeldOut:
    rows = rows.reset_index(drop=True)
    truth = target.truth(rows, index, list(names))
    judged = target.judged(truth, names, least)
    columns = [names.index(label) for label in judged]
    return HeldOut(name, rows, judged, columns, truth[:, columns])


def _too_few(config: UtilityConfig, target: Target) -> str:
    if config.target == "labels":
        return f"utility: no finding has {config.least} held-out images with and without; lower `least`"
    return f"utility: no {target.name} has {config.target} in {config.least} held-out images; lower `least`"
