"""How far apart two radiographs of one patient lie, and whether synthetic ones lie as near to a training patient."""

from __future__ import annotations

import numpy as np
import pandas as pd

from .context import Context
from .copies import Neighbours
from .plots import roc
from .resampling import as_figure
from .section import BAD, UNCLEAR, Plot, Section, Verdict
from .separation import separation
from .stats import share

FEW_PAIRS = 20
TELLING = 0.75  # AUROC of same against different patients; below, these features can hardly re-identify anybody
NAME = "as near to a training image as radiographs of one patient"


def judge_patients(context: Context, section: Section, found: Neighbours) -> None:
    """Distances within and between real patients, and the share of synthetic images within the former."""
    vectors, rows = context.features(context.train), context.train
    same, other = patient_pairs(rows["patient_id"].to_numpy(dtype=str), context.generator("patients"))
    if len(same) < FEW_PAIRS:
        section.notes.append(f"Re-identification: only {len(same)} patients with two radiographs; not measured.")
        return
    one, two = (np.linalg.norm(vectors[pairs[:, 0]] - vectors[pairs[:, 1]], axis=1) for pairs in (same, other))
    tables = [rows.iloc[same[:, 0]], rows.iloc[other[:, 0]]]
    area = separation(context, -one, -two, tables, "patients")
    section.figures.append(as_figure("re-identification of real patients (AUROC)", area, len(one), control=0.5))
    picture = roc({"same patient": (-one, -two)})
    section.plots.append(Plot("Two radiographs of one patient against two patients, by distance of features", picture))
    typical = float(np.median(one))
    near, floor = share(found.made < typical), float((found.held_out < typical).mean())
    section.figures.append(as_figure(NAME, near, len(found.made), better="low", floor=floor))
    if near.low > floor + 0.05:
        words = f"{100 * near.value:.0f} % of the images are as near to a training image as that patient's next one"
        section.verdicts.append(Verdict(BAD, f"{words}; of held-out radiographs {100 * floor:.0f} % are."))
    if area.value < TELLING:
        words = f"These features tell patients apart poorly (AUROC {area.value:.2f}): re-identification may be missed."
        section.verdicts.append(Verdict(UNCLEAR, words))


def patient_pairs(patients: np.ndarray, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """One random pair of rows of every patient with two, and as many pairs of different patients. Shapes: -> [P, 2]."""
    order = generator.permutation(len(patients))
    parts = pd.Series(order).groupby(patients[order], sort=True)
    same = np.array([part.to_numpy()[:2] for _, part in parts if len(part) > 1], dtype=np.int64).reshape(-1, 2)
    partners = generator.permutation(len(patients))[: len(same)]
    other = np.stack([same[:, 0], partners], axis=1)
    return same, other[patients[other[:, 0]] != patients[other[:, 1]]]
