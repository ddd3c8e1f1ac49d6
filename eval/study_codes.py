"""Whose study an image shows, told by a coder of studies that was trained apart from the model that drew it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from .readings import load_pixels

if TYPE_CHECKING:
    from gen.judges.study import StudyJudge

WHOSE = "code nearer to its own patient than to another"


def read_codes(judge: StudyJudge, paths: Sequence[str], views: Sequence[str]) -> np.ndarray:
    """Codes of image files of these views. Shapes: -> [N, D]."""
    import torch

    pixels = torch.from_numpy(load_pixels(paths)).float() / 127.5 - 1
    return judge.codes(pixels[:, None], list(views)).float().numpy()
