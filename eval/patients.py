"""How well features know a real patient again: what a search by them could see of re-identification."""

from __future__ import annotations

import numpy as np
import pandas as pd

from gen.judges.neighbours import nearest

from .context import Context
from .plots import roc
from .resampling import as_figure
from .section import UNCLEAR, Plot, Section, Verdict
from .separation import separation
from .stats import share

FEW_PAIRS = 20
TELLING = 0.75  # AUROC of same against different patients; below, these features can hardly re-identify anybody


def judge_patients(context: Context, section: Section) -> None:
    """Distances within and between real patients, and how many are known by their nearest image."""
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
    known, chance = recognised(vectors, rows["patient_id"].to_numpy(dtype=str))
    name = "patients recognised by their nearest image"
    section.figures.append(as_figure(name, share(known), len(known), control=chance))
    if area.value < TELLING:
        words = (
            f"These features tell patients apart poorly (AUROC {area.value:.2f}, {100 * known.mean():.0f} % recognised)"
        )
        section.verdicts.append(Verdict(UNCLEAR, f"{words}: that a patient comes back in another pose may be missed."))


def recognised(vectors: np.ndarray, patients: np.ndarray) -> tuple[np.ndarray, float]:
    """Whether the nearest other image is of the same patient, for every patient with several; and by chance.

    Shapes: [N, D], [N] -> [P] bool of the rows with another of their patient.
    """
    counts = pd.Series(patients).map(pd.Series(patients).value_counts()).to_numpy()
    rows = np.flatnonzero(counts > 1)
    own = np.arange(len(patients))
    place = nearest(vectors[rows], vectors, exclude=(rows, own))[1][:, 0]
    return patients[place] == patients[rows], float(((counts[rows] - 1) / (len(patients) - 1)).mean())


def patient_pairs(patients: np.ndarray, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """One random pair of rows of every patient with two, and as many pairs of different patients. Shapes: -> [P, 2]."""
    order = generator.permutation(len(patients))
    parts = pd.Series(order).groupby(patients[order], sort=True)
    same = np.array([part.to_numpy()[:2] for _, part in parts if len(part) > 1], dtype=np.int64).reshape(-1, 2)
    partners = generator.permutation(len(patients))[: len(same)]
    other = np.stack([same[:, 0], partners], axis=1)
    return same, other[patients[other[:, 0]] != patients[other[:, 1]]]
