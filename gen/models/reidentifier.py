"""A network that knows patients again: two radiographs of one person lie close on a sphere, of two persons far apart.

After Packhaeuser et al., Deep learning-based patient re-identification is able to exploit the biometric nature of
medical chest X-ray data (Scientific Reports 12, 2022): both images go through the same weights (Siamese).
"""

from __future__ import annotations

import torch
from diffusers import ModelMixin
from diffusers.configuration_utils import ConfigMixin, register_to_config
from torch import Tensor, nn
from torch.nn import functional as F

from gen.models.classifier import SMALL, backbone_of, standardised


class ReidentificationNetwork(ModelMixin, ConfigMixin):
    """A one-channel backbone and a linear layer to a unit vector; the score of two images is their cosine."""

    @register_to_config
    def __init__(
        self,
        backbone: str = SMALL,
        widths: tuple[int, ...] = (16, 32, 96, 192),
        blocks: tuple[int, ...] = (1, 2, 3, 1),
        features: int = 128,
        resolution: int = 128,
    ) -> None:
        super().__init__()
        self.trunk, width = backbone_of(backbone, tuple(widths), tuple(blocks), resolution)
        self.neck = nn.Linear(width, features)

    def forward(self, image: Tensor) -> Tensor:
        """Shapes: image [B, 1, H, W] in [-1, 1], any size -> [B, D] of length 1."""
        seen = self.trunk(standardised(image, self.config.resolution))  # [B, C]
        return F.normalize(self.neck(seen).float(), dim=1)


def patient_contrast(vectors: Tensor, patients: Tensor, temperature: float) -> Tensor:
    """Supervised contrastive loss (arXiv 2004.11362): an image's own patient against everybody in the batch.

    Shapes: vectors [B, D] of length 1, patients [B] numbers, each at least twice.
    """
    own = torch.eye(len(vectors), dtype=torch.bool, device=vectors.device)
    logits = (vectors @ vectors.T / temperature).masked_fill(own, -torch.inf)
    same = (patients[:, None] == patients[None]) & ~own
    chosen = F.log_softmax(logits, dim=1).masked_fill(~same, 0)
    return -(chosen.sum(1) / same.sum(1)).mean()
