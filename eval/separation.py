"""How well one score tells two sets apart."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from .context import Context
from .groups import clusters_of
from .labels import auroc
from .resampling import estimate
from .stats import Interval, resample_weights


def separation(
    context: Context, positive: np.ndarray, negative: np.ndarray, tables: Sequence[pd.DataFrame], name: str
) -> Interval:
    """Probability that a positive scores above a negative, ties half (AUROC), each set resampled by its own clusters.

    Shapes: positive [N] and negative [M], rows of the two tables; `name` names the random stream.
    """
    generator = context.generator("separation", name)
    weights = [resample_weights(clusters_of(rows), context.resamples, generator).T for rows in tables]
    together = np.concatenate(weights, axis=1).astype(float)
    truth = np.r_[np.ones(len(positive)), np.zeros(len(negative))]
    return estimate(lambda drawn: auroc(np.concatenate([positive, negative]), truth, drawn), together)
