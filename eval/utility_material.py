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


@dataclass(frozen=True)
class Material:
    """Training images, test sets, the names that are trained and judged, and those that are not, with the reason."""

    real: Known
    synthetic: Known
    tests: list[HeldOut]
    names: tuple[str, ...]
    left_out: dict[str, str]


def material(context: Context, config: UtilityConfig, target: Target) -> Material:
    """Everything that a study trains and tests on.

    Masks or boxes of names that the synthetic set never shows are left out unless a study asks for them.
    Errors: UserError for a source or a name without rows and for a synthetic set without masks or boxes, NotMeasurable
    where nothing is held out often enough.
    """
    index = context.real_index
    known = _usable(context.real[context.real["view"].isin(FRONTAL)], index, target)
    sources = known["source"] if "source" in known else pd.Series("", index=known.index)
    held_out, own = known["split"].isin(config.splits), _own_source(config, known, sources)
    real, inside = (known[own & part].reset_index(drop=True) for part in (known["split"] == "train", held_out))
    if real.empty or inside.empty:
        said = f"source {config.source!r}" if config.source else "the index"
        kind = "" if config.target == "labels" else f" with {config.target}"
        raise UserError(f"utility: {said} has {len(real)} training and {len(inside)} held-out rows{kind}")
    wanted = known_names(target, known[own], index, config.names)
    often = target.judged(target.truth(inside, index, wanted), wanted, config.least)
    if not often:
        raise NotMeasurable(_too_few(config, target))
    synthetic, left_out = _synthetic(context, config, target, often)
    names = tuple(name for name in often if name not in left_out)
    outside = {f"external: {name}": (known[(sources == name) & held_out], index) for name in sorted(set(sources[~own]))}
    if config.external is not None:
        rows = read_index(config.external)
        rows = _usable(rows[rows["view"].isin(FRONTAL)], config.external, target)
        outside[f"external: {config.external.stem}"] = (rows, config.external)
    places = {IN_DOMAIN: (inside, index), **outside}
    tests = [_test(name, *place, names, config.least, target) for name, place in places.items()]
    return Material(_known(real, index, target, names), synthetic, tests, names, left_out)


def _synthetic(
    context: Context, config: UtilityConfig, target: Target, often: list[str]
) -> tuple[Known, dict[str, str]]:
    """The synthetic set with the names that it can teach, and the other names with the reason."""
    found = _known(_frontal(context), context.synthetic_index, target, tuple(often))
    if config.target == "labels":
        return found, {}
    shown = found.shown.any(0)
    if not shown.any():
        said = f"no synthetic image shows any {target.name} of {', '.join(often)}"
        raise UserError(f"{context.synthetic_index}: {said}")
    if config.names or shown.all():
        return found, {}
    left_out = {name: "no synthetic image shows it" for name, there in zip(often, shown, strict=True) if not there}
    return Known(found.rows, found.truth[:, shown], found.shown[:, shown]), left_out


def _frontal(context: Context) -> pd.DataFrame:
    rows = context.synthetic
    return rows[rows["view"].isin([*FRONTAL, "UNKNOWN"])].reset_index(drop=True)


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
