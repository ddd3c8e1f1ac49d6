"""A trained re-identification network as its users meet it; none is shipped, for it is a tool of attack too."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from gen.judges.loading import load_network, network_fingerprint
from gen.judges.preparation import checked
from gen.models.reidentifier import ReidentificationNetwork

BATCH = 64  # images a call


class Reidentifier:
    """Vectors of radiographs whose cosine says how surely two are of one patient."""

    def __init__(self, network: ReidentificationNetwork, fingerprint: str = "untrained") -> None:
        self.network = network.eval().to(memory_format=torch.channels_last)
        self.fingerprint = fingerprint

    @classmethod
    def load(cls, folder: str | Path) -> Reidentifier:
        """From an export folder of train/reidentify.py. Errors: UserError for a folder without such a network."""
        return cls(load_network(ReidentificationNetwork, folder), network_fingerprint(folder))

    @torch.inference_mode()
    def vectors(self, images: Tensor) -> Tensor:
        """Shapes: [N, 1, H, W] in [-1, 1], any size -> [N, D] of length 1, on the CPU."""
        parts = [self.network(checked(part).to(self.network.device)).cpu() for part in images.split(BATCH)]
        return torch.cat(parts) if parts else torch.empty(0, self.network.config.features)
