"""Patients that come back in another pose: nearest training images by a network that knows patients again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch

from gen.data.images import to_model
from gen.judges.neighbours import nearest

from .context import Context
from .patients import FEW_PAIRS, patient_pairs
from .plots import histogram
from .resampling import as_figure
from .section import BAD, GOOD, UNCLEAR, Plot, Section, Verdict
from .separation import separation
from .stats import Interval, share

if TYPE_CHECKING:
    from gen.judges.reidentifier import Reidentifier

ALARMS = 0.05  # share of held-out radiographs, whose patients are in nobody's training set, that are taken for one
BLIND = 0.3  # share of real second radiographs recognised: below, the network's silence proves little


def judge_reidentified(context: Context, section: Section) -> None:
    """Figures, plot and verdict of a re-identification network; nothing where none was given (--reidentifier)."""
    if context.reidentifier is None:
        return
    from gen.judges.reidentifier import Reidentifier

    judge = Reidentifier.load(context.reidentifier)
    held_out = context.real[context.real["split"] != "train"].reset_index(drop=True)
    made, train, outside = (vectors_of(context, judge, rows) for rows in (context.synthetic, context.train, held_out))
    pairs = patient_pairs(held_out["patient_id"].to_numpy(dtype=str), context.generator("verification pairs"))
    same, other = ((outside[places[:, 0]] * outside[places[:, 1]]).sum(1) for places in pairs)
    if len(same) < FEW_PAIRS:
        words = f"only {len(same)} held-out patients have two radiographs"
        section.verdicts.append(Verdict(UNCLEAR, f"Re-identification by the network was not measured: {words}."))
        return
    closest = {"synthetic": closeness(made, train), "held-out patients": closeness(outside, train)}
    told = separation(context, same, other, [held_out.iloc[places[:, 0]] for places in pairs], "verification")
    name = "re-identification network: one held-out patient or two (AUROC)"
    section.figures.append(as_figure(name, told, len(same), control=0.5))
    _add_taken(section, closest["synthetic"], closest["held-out patients"], same)
    curves = closest | {"two images of one patient": same, "of two patients": other}
    caption = "Score of the re-identification network: to the nearest training image, and of pairs of held-out patients"
    section.plots.append(Plot(caption, histogram(curves, "cosine", threshold(closest["held-out patients"]))))
    section.notes.append(
        f"The re-identification network ({judge.fingerprint}) scores pairs of radiographs. A synthetic image is taken "
        f"for a training patient where its nearest training image scores higher than those of {100 * (1 - ALARMS):.0f} "
        "% of the held-out radiographs (floor); the control is how many second radiographs of real held-out patients "
        "score as high with the first."
    )


def vectors_of(context: Context, judge: Reidentifier, rows: pd.DataFrame) -> np.ndarray:
    """Shapes: -> [N, D] of length 1."""
    pixels = context.pixels(rows, judge.network.config.resolution)
    return judge.vectors(torch.from_numpy(to_model(pixels))[:, None]).numpy()


def closeness(queries: np.ndarray, references: np.ndarray) -> np.ndarray:
    """Cosine to the nearest reference. Shapes: [N, D], [M, D] of length 1 -> [N]."""
    return 1 - nearest(queries, references, metric="cosine")[0][:, 0]


def threshold(outside: np.ndarray) -> float:
    """The score that so few held-out radiographs reach with any training image. Shapes: [M]."""
    return float(np.quantile(outside, 1 - ALARMS))


def _add_taken(section: Section, made: np.ndarray, outside: np.ndarray, same: np.ndarray) -> None:
    limit = threshold(outside)
    taken, floor, known = share(made > limit), float((outside > limit).mean()), float((same > limit).mean())
    name = "synthetic images taken for a training patient"
    section.figures.append(as_figure(name, taken, len(made), "", "low", floor, known))
    section.verdicts.append(_verdict(taken, floor, known))


def _verdict(taken: Interval, floor: float, known: float) -> Verdict:
    words = f"{100 * taken.value:.1f} % of the synthetic images are taken for a training patient by the network"
    beside = f"{100 * floor:.1f} % of held-out radiographs are, {100 * known:.0f} % of real second ones"
    if taken.low > floor:
        return Verdict(BAD, f"Patients may come back: {words}; {beside}.")
    if known < BLIND:
        return Verdict(UNCLEAR, f"{words}, but it recognises few real patients; {beside}.")
    return Verdict(GOOD, f"No sign that patients come back: {words}; {beside}.")
