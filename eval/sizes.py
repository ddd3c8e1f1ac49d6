"""Phantom follow-ups: does the finding that is drawn have the size that the events give it?

The size in an image is measured by what changed since the prior: the mean brightness that was gained within the
finding's own mask in the prior image (widened by WIDER pixels), turned into a change of size by a ridge regression,
one a kind of finding, that has seen pairs of real phantoms of the training split only. The true follow-up, measured the
same way, is the ceiling; the image drawn with another patient's events, and the prior handed on, are the controls.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from gen.errors import UserError

from . import labels
from .resampling import DRAWS, as_figure, cluster_counts, difference, estimate, told
from .section import BAD, GOOD, UNCLEAR, Section, Table, Verdict
from .stats import correlation

TREATED = ("edema", "effusion", "consolidation", "atelectasis")
REAL, DRAWN, WRONG, COPY = "true follow-up", "drawn", "drawn with another patient's events", "copy of the prior"
WIDER = 4  # pixels of 256
RIDGE = 0.1
GOAL = 0.8
LEAST = 5
GIVEN = "size given the prior's"
CHANGED = 0.15  # of the size before, from which on the phantoms' reports speak of a change


@dataclass(frozen=True)
class Sizes:
    """N findings of pairs: kind, patient, size before and after, and the change seen in each candidate.

    Sizes are in units of the kind's mean size in the training split. Shapes: all [N]; seen maps a name to [N].
    """

    kinds: np.ndarray
    patients: np.ndarray
    before: np.ndarray
    after: np.ndarray
    seen: dict[str, np.ndarray]


def measure_sizes(table: Path, index: Path, draws: int = DRAWS, seed: int = 0) -> Section:
    """Judge a table of `cxr-sample follow-ups` on a phantom index. Errors: UserError for other data."""
    from gen.data.follow import with_priors
    from gen.data.index import read_index
    from gen.schema import DataConfig

    from .tables import read_pairs

    rows = read_pairs(table, ("prior", "target", "generated", "generated_wrong"), ("patient",))
    config = DataConfig(index=index, resolution=8)
    train = with_priors(read_index(index, splits=["train"]), config)
    train = train.rename(columns={"image": "target", "patient_id": "patient"}).to_dict("records")
    truth = _truth(index)
    fits = {kind: _fit(_observed(train, truth, kind, ("target",))) for kind in TREATED}
    found = [_sizes(_observed(rows.to_dict("records"), truth, kind), kind, fits[kind]) for kind in TREATED]
    return summary(_joined([one for one in found if one is not None], table), draws, seed)


def summary(sizes: Sizes, draws: int = DRAWS, seed: int = 0) -> Section:
    """Correlations of measured with true sizes and changes, by patient-clustered bootstrap."""
    section = Section("sizes", "Sizes of findings in phantom follow-ups")
    rows = []
    for kind in ("all", *dict.fromkeys(sizes.kinds)):
        chosen = np.ones(len(sizes.kinds), bool) if kind == "all" else sizes.kinds == kind
        weights = cluster_counts(sizes.patients, draws, seed)
        for what in ("size", GIVEN, "change"):
            values = {who: partial(_correlation, sizes, who, what, chosen) for who in sizes.seen}
            found = {who: estimate(value, weights) for who, value in values.items()}
            name = f"correlation of {what}, {kind}"
            for who in (DRAWN, WRONG):
                shown = as_figure(
                    name, found[who], int(chosen.sum()), better="high", floor=found[REAL].value, group=who
                )
                section.figures.append(shown)
            gain = difference(values[DRAWN], values[WRONG], weights)
            rows.append((name, str(int(chosen.sum())), *(f"{found[who].value:.3f}" for who in sizes.seen), *told(gain)))
        rows.append(_errors(sizes, kind, chosen))
    header = ("figure", "findings", *sizes.seen, "own less other events", "95 % interval", "p")
    section.tables.append(Table("Measured and true sizes", header, rows))
    section.tables.append(_subsets(sizes, cluster_counts(sizes.patients, draws, seed)))
    section.verdicts.append(_verdict(section))
    section.notes.append(
        "Sizes in units of the kind's mean; a change is measured within the finding's mask in the prior, by a "
        "regression fitted to true follow-ups of the training split. The size before is known to all, so that a copy "
        "and other events have a correlation of size; given the size before (a partial correlation) and of change a "
        f"copy has none. Diff: findings that changed by more than {CHANGED:.0%}."
    )
    return section


def _correlation(sizes: Sizes, who: str, what: str, chosen: np.ndarray, weights: np.ndarray | None):
    """Of measured with true sizes or changes, or of what the sizes before leave of both. Shapes: [D, N] -> [D]."""
    added = sizes.before if what == "size" else 0
    given = sizes.before if what == GIVEN else None
    counts = (np.ones((1, len(chosen))) if weights is None else weights) * chosen
    found = correlation(sizes.seen[who] + added, sizes.after - sizes.before + added, counts, given)
    return float(found[0]) if weights is None else found


def _errors(sizes: Sizes, kind: str, chosen: np.ndarray) -> tuple[str, ...]:
    change = sizes.after - sizes.before
    off = [f"{np.abs(seen - change)[chosen].mean():.3f}" for seen in sizes.seen.values()]
    return (f"mean absolute error of size, {kind}", str(int(chosen.sum())), *off, "", "", "")


def _subsets(sizes: Sizes, weights: np.ndarray) -> Table:
    """Errors of size, and directions, of findings that stayed as they were (Same) and of the others (Diff)."""
    change = sizes.after - sizes.before
    moved = np.abs(change) > CHANGED * sizes.before
    off, rows = {who: np.abs(seen - change) for who, seen in sizes.seen.items()}, []
    for name, chosen in (("All", moved | True), ("Same", ~moved), ("Diff", moved)):
        error = {who: partial(labels.mean, np.where(chosen, values, np.nan)) for who, values in off.items()}
        gain = difference(error[DRAWN], error[COPY], weights)
        values = (f"{value(None):.3f}" for value in error.values())
        rows.append((f"mean absolute error of size, {name}", str(int(chosen.sum())), *values, *told(gain)))
    right = {who: partial(labels.mean, np.where(moved, seen * change > 0, np.nan)) for who, seen in sizes.seen.items()}
    gain = difference(right[DRAWN], right[WRONG], weights)
    values = (f"{value(None):.3f}" for value in right.values())
    rows.append(("right direction less other events', Diff", str(int(moved.sum())), *values, *told(gain)))
    header = ("figure", "findings", *sizes.seen, "drawn less copy", "95 % interval", "p")
    return Table("Findings that changed, and others", header, rows)


def _observed(
    rows: Sequence[dict],
    truth: dict,
    kind: str,
    images: Sequence[str] = ("target", "generated", "generated_wrong"),
) -> pd.DataFrame:
    """One row a finding of this kind and pair: size before and after, and what each image gained in its mask."""
    found = []
    for row in rows:
        for name, size in truth["sizes"].get(_key(row["prior"]), {}).items():
            if name.split("_")[0] == kind:
                after = truth["sizes"].get(_key(row["target"]), {}).get(name, 0.0)
                place = _place(truth["masks"][_key(row["prior"])], name)
                prior = _brightness(row["prior"])
                gained = {image: float((_brightness(row[image]) - prior)[place].mean()) for image in images}
                found.append(
                    {"patient": row["patient"], "before": size, "after": after, "shown": prior[place].mean()}
                    | {"area": place.mean()}
                    | gained
                )
    return pd.DataFrame(found)


def _features(table: pd.DataFrame, image: str, scale: float) -> np.ndarray:
    """What was gained, alone, and times size, area and brightness before; nothing gained is no change."""
    gained = table[image].to_numpy()
    before, area, shown = table["before"].to_numpy() / scale, table["area"].to_numpy(), table["shown"].to_numpy()
    return (
        np.stack([gained, gained * before, gained * area * 10, gained * shown, gained * np.abs(gained) * 10], axis=1)
        * 10
    )


def _fit(table: pd.DataFrame) -> tuple[float, np.ndarray] | None:
    if len(table) < LEAST:
        return None
    scale = float(table["before"].mean())
    inputs = _features(table, "target", scale)
    change = (table["after"] - table["before"]).to_numpy() / scale
    weights = np.linalg.solve(inputs.T @ inputs + RIDGE * np.eye(inputs.shape[1]), inputs.T @ change)
    return scale, weights


def _sizes(table: pd.DataFrame, kind: str, fit: tuple[float, np.ndarray] | None) -> Sizes | None:
    if fit is None or table.empty:
        return None
    scale, weights = fit
    names = {REAL: "target", DRAWN: "generated", WRONG: "generated_wrong"}
    seen = {who: _features(table, image, scale) @ weights for who, image in names.items()}
    seen[COPY] = np.zeros(len(table))
    before, after = (table[name].to_numpy() / scale for name in ("before", "after"))
    return Sizes(np.full(len(table), kind), table["patient"].to_numpy(), before, after, seen)


def _joined(parts: list[Sizes], table: Path) -> Sizes:
    if not parts:
        raise UserError(f"{table}: no finding that events change; give pairs of followed phantoms")
    joined = [
        np.concatenate([getattr(part, name) for part in parts]) for name in ("kinds", "patients", "before", "after")
    ]
    return Sizes(*joined, {who: np.concatenate([part.seen[who] for part in parts]) for who in parts[0].seen})


def _truth(index: Path) -> dict:
    """Sizes of findings and mask files of phantoms, by image."""
    from gen.data.index import read_index
    from gen.data.tables import read_parquet

    rows = read_index(index)
    remedy = "give the index of a data set of `cxr-index phantom`"
    if "masks" not in rows:
        raise UserError(f"{index}: no column masks; {remedy}")
    findings = read_parquet(index.parent / "findings.parquet", remedy, ("image", "name", "size"))
    sizes: dict[str, dict[str, float]] = {}
    for image, name, size in zip(findings["image"], findings["name"], findings["size"], strict=True):
        sizes.setdefault(_key(image), {})[name] = float(size)
    masks = {_key(image): index.parent / mask for image, mask in zip(rows["image"], rows["masks"], strict=True)}
    return {"sizes": sizes, "masks": masks}


def _key(image: str) -> str:
    return Path(image).name


def _place(mask: Path, name: str) -> np.ndarray:
    from scipy.ndimage import binary_dilation

    from gen.phantom.cohort import read_mask

    return binary_dilation(read_mask(mask, name), iterations=WIDER)


def _brightness(path: str) -> np.ndarray:
    from gen.data.images import prepare

    return prepare(path, 256) / 2 + 0.5


def _verdict(section: Section) -> Verdict:
    own, other = (section.figure("correlation of change, all", who) for who in (DRAWN, WRONG))
    words = f"Drawn changes of size correlate with true ones by {own.value:.2f}, with others' events {other.value:.2f}."
    if own.value >= GOAL and own.low is not None and own.low > other.value:
        return Verdict(GOOD, words)
    return Verdict(UNCLEAR if own.low is not None and own.low > 0 else BAD, words)
