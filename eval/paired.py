"""Bone suppression against real dual-energy pairs: figures with intervals, paired tests and the do-nothing baseline."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from tqdm import tqdm

from gen.errors import UserError

from . import labels
from .bone_measures import as_published, bone_suppression, errors, perceptual_distance
from .perceptual import NAMES, perceptual_network
from .resampling import DRAWS, as_figure, cluster_counts, difference, estimate, told
from .section import BAD, GOOD, UNCLEAR, Better, Figure, Section, Table, Verdict
from .tables import read_pairs

if TYPE_CHECKING:
    from .perceptual import Backbone, Distance

COLUMNS = ("cxr", "target", "output")
OTHERS = "output_"
IDENTITY = "identity"
LOWER = ("MSE", "LPIPS")
COSTS = {"seconds": "s", "calls": ""}  # of the method "output", where the table has them
UNITS = {"PSNR": "dB"}


def measure_pairs(table: str | Path, draws: int = DRAWS, seed: int = 0, backbone: Backbone | None = None) -> Section:
    """Judge a table of image files: columns cxr, target and output, more methods as output_NAME, and if known patient.

    LPIPS is computed where a `backbone` is named for it.
    Errors: UserError for a missing column or file, for images of a row that differ in size, and for a backbone without
    weights, before any image is read.
    """
    pairs = read_pairs(table, COLUMNS, more=OTHERS)
    methods = [name for name in pairs.columns if name == "output" or name.startswith(OTHERS)]
    network = perceptual_network(backbone) if backbone else None
    results = measures(pairs, ["cxr", *methods], network)
    section = summary(results, pairs.get("patient", pd.Series(range(len(pairs)))).to_numpy(), draws, seed)
    section.figures += [figure for name, unit in COSTS.items() for figure in _cost(pairs, name, unit)]
    section.notes.append(f"LPIPS over {NAMES[backbone]}." if backbone else "LPIPS was not asked for (--lpips).")
    return section


def measures(pairs: pd.DataFrame, methods: list[str], network: Distance | None = None) -> pd.DataFrame:
    """Every figure of every pair: one row a (pair, method), the radiograph itself being the method "identity".

    Columns ending in "(as published)" are BS-LDM's way of counting; "shuffled MSE" is against the next pair's target.
    """
    rows = []
    targets = [_image(path) for path in pairs["target"]]
    for row in tqdm(range(len(pairs)), desc="pairs", unit="", disable=None):
        cxr, target = _image(pairs["cxr"][row]), targets[row]
        for method in methods:
            output = _image(pairs[method][row])
            _check_sizes(row, pairs, {"cxr": cxr, "target": target, method: output})
            found = _one(cxr, target, output, network)
            other = targets[(row + 1) % len(targets)]
            if len(targets) > 1 and other.shape == output.shape:
                found |= {f"shuffled {name}": value for name, value in errors(other, output).items()}
            rows.append({"pair": row, "method": IDENTITY if method == "cxr" else method, **found})
    return pd.DataFrame(rows)


def summary(results: pd.DataFrame, patients: np.ndarray, draws: int = DRAWS, seed: int = 0) -> Section:
    """Means with intervals by resampling patients, and paired differences from doing nothing."""
    section = Section("bone", "Bone suppression")
    weights = cluster_counts(patients, draws, seed)
    names = [name for name in results.columns.drop(["pair", "method"]) if not name.startswith("shuffled ")]
    values = {method: part.set_index("pair") for method, part in results.groupby("method", sort=False)}
    for method, part in values.items():
        for name in names:
            control = f"shuffled {name}"
            mean = partial(labels.mean, _finite(part[name]))
            section.figures.append(
                as_figure(
                    name,
                    estimate(mean, weights),
                    len(part),
                    unit=UNITS.get(name.split(" ")[0], ""),
                    better=_better(name),
                    control=float(part[control].mean()) if control in part else None,
                    group=method,
                )
            )
    for method in [name for name in values if name != IDENTITY]:
        section.tables.append(_against_identity(method, values[method], values[IDENTITY], names, weights))
        section.verdicts.append(_verdict(method, values[method], values[IDENTITY], weights))
    section.notes.append(
        "identity is the radiograph itself: a method must beat it. Figures marked (as published) carry the signed bone "
        "and the 8-bit overflow of BS-LDM's code; the others are computed in floats. BSR counts only what is too dark; "
        "read it with BSR residual. An equal image has no finite PSNR and is left out of its mean."
    )
    return section


def _cost(pairs: pd.DataFrame, name: str, unit: str) -> list[Figure]:
    """Seconds or network calls an image, as cxr-sample bone wrote them down."""
    known = pd.to_numeric(pairs.get(name, pd.Series(dtype=float)), errors="coerce").dropna()
    if known.empty:
        return []
    return [Figure(f"{name} an image", float(known.mean()), n=len(known), unit=unit, better="low", group="output")]


def _one(cxr: np.ndarray, target: np.ndarray, output: np.ndarray, network: Distance | None) -> dict[str, float]:
    found = bone_suppression(cxr, target, output) | errors(target, output)
    published = as_published(cxr, target, output)
    if network is not None:
        found["LPIPS"] = perceptual_distance(target, output, network)
        published["LPIPS"] = perceptual_distance(target, output, network, published=True)
    return found | {f"{name} (as published)": value for name, value in published.items()}


def _against_identity(
    method: str, part: pd.DataFrame, identity: pd.DataFrame, names: list[str], weights: np.ndarray
) -> Table:
    rows = []
    for name in names:
        first, second = (partial(labels.mean, _finite(values[name])) for values in (part, identity))
        found = difference(first, second, weights)
        rows.append((name, *told(found, "+.4g")))
    return Table(f"{method} minus identity, paired", ("figure", "difference", "95 % interval", "p"), rows)


def _verdict(method: str, part: pd.DataFrame, identity: pd.DataFrame, weights: np.ndarray) -> Verdict:
    first, second = (partial(labels.mean, values["MSE"].to_numpy()) for values in (part, identity))
    found = difference(first, second, weights)
    if found.high < 0:
        return Verdict(GOOD, f"{method} is closer to the real soft-tissue image than the untouched radiograph is.")
    if found.low > 0:
        return Verdict(BAD, f"{method} is further from the real soft-tissue image than the untouched radiograph is.")
    return Verdict(UNCLEAR, f"{len(part)} pairs cannot tell whether {method} beats leaving the radiograph as it is.")


def _better(name: str) -> Better:
    return "low" if name.split(" ")[0] in LOWER else "high"


def _finite(values: pd.Series) -> np.ndarray:
    return values.replace([np.inf, -np.inf], np.nan).to_numpy(dtype=float)


def _image(path: str) -> np.ndarray:
    from gen.data.images import read_image

    return read_image(path).astype(np.float64)


def _check_sizes(row: int, pairs: pd.DataFrame, images: dict[str, np.ndarray]) -> None:
    sizes = {name: image.shape for name, image in images.items()}
    if len(set(sizes.values())) > 1:
        shown = ", ".join(f"{name} {shape[1]} x {shape[0]}" for name, shape in sizes.items())
        raise UserError(
            f"pair {row + 1} ({pairs['cxr'][row]}): images differ in size ({shown}); resample to the target's"
        )
