"""Subsets that figures are given for: findings, views, sexes, age bands."""

from __future__ import annotations

import numpy as np
import pandas as pd

MINIMUM = 20  # images of a subset in every set it is compared in; smaller ones are named, not measured
AGE_BANDS = ((0, 13), (13, 40), (40, 60), (60, 80), (80, 131))  # years, the upper one excluded
SEXES = {"F": "female", "M": "male"}


def groups_of(rows: pd.DataFrame) -> dict[str, np.ndarray]:
    """Which rows belong to which subset; an image with two findings is in both. Shapes: -> [N] bool by name."""
    findings = [frozenset(filter(None, str(text).split(";"))) for text in rows["findings"]]
    masks = {name: np.array([name in found for found in findings]) for name in sorted(frozenset().union(*findings))}
    for view in sorted(set(rows["view"]) - {"", "UNKNOWN"}):
        masks[f"view {view}"] = (rows["view"] == view).to_numpy()
    for code, name in SEXES.items():
        masks[name] = (rows["sex"] == code).to_numpy()
    age = rows["age"].to_numpy(dtype=float, na_value=np.nan)
    for low, high in AGE_BANDS:
        masks[band_name(low, high)] = (age >= low) & (age < high)
    return masks


def band_name(low: int, high: int) -> str:
    """Words of an age band."""
    return f"age {low} and over" if high > 130 else f"age {low} to {high - 1}"


def clusters_of(rows: pd.DataFrame) -> np.ndarray:
    """What varies together: a patient's radiographs, a prompt's images. Shapes: -> [N] text."""
    if "patient_id" in rows and "split" in rows:
        return rows["patient_id"].to_numpy(dtype=str)
    prompts = rows["prompt"].to_numpy(dtype=str)
    return np.where(prompts == "", [f"image {number}" for number in range(len(rows))], prompts)
