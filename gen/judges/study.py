"""A trained coder of studies as its users meet it; none is shipped, for what a model was told must not judge it.

A view model may begin with what one says (gen.models.first_view); to judge it train another on other patients.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from gen.judges.loading import load_network, network_fingerprint
from gen.judges.preparation import checked
from gen.models.codec import LatentCodec
from gen.models.loading import load_codec
from gen.models.study import NOMINAL
from gen.models.study_code import StudyCoder

BATCH = 16  # images a call


class StudyJudge:
    """Codes of radiographs whose cosine says how surely two are of one study, whatever view each is."""

    def __init__(self, coder: StudyCoder, codec: LatentCodec, fingerprint: str = "untrained") -> None:
        self.coder, self.codec, self.fingerprint = coder.eval(), codec.eval(), fingerprint

    @classmethod
    def load(cls, folder: str | Path) -> StudyJudge:
        """From an export folder of train/study_code.py. Errors: UserError for a folder without such a coder."""
        coder = load_network(StudyCoder, folder, sees_images=False)
        return cls(coder, load_codec(Path(folder) / "vae"), network_fingerprint(folder))

    @torch.inference_mode()
    def codes(self, images: Tensor, views: Sequence[str]) -> Tensor:
        """Shapes: [N, 1, H, W] in [-1, 1], any size, and N views -> [N, D] of length 1, on the CPU."""
        angles = torch.tensor([NOMINAL.get(view, math.nan) for view in views])
        parts = zip(images.split(BATCH), angles.split(BATCH), strict=True)
        return torch.cat([self._codes(*part) for part in parts]) if len(images) else torch.empty(0, 0)

    def _codes(self, images: Tensor, angles: Tensor) -> Tensor:
        side = self.coder.config.resolution
        square = F.interpolate(checked(images), (side, side), mode="bilinear", antialias=True)
        latents = self.codec.sample(self.codec.moments(square.to(self.codec.device)))
        return self.coder(latents, angles.to(latents.device)).cpu()


def nearer_than_strangers(codes: np.ndarray, others: np.ndarray, patients: np.ndarray) -> np.ndarray:
    """Of each row, the share of other patients whose code in `others` is less like its own than its own row's is.

    Ties count half; NaN where there is no other patient. Shapes: [N, D] twice, [N] -> [N].
    """
    likeness, strangers = codes @ others.T, patients[:, None] != patients[None]
    own = likeness.diagonal()[:, None]
    wins = (own > likeness) + (own == likeness) / 2
    counts = strangers.sum(1)
    return np.where(counts > 0, (wins * strangers).sum(1) / np.maximum(counts, 1), np.nan)
