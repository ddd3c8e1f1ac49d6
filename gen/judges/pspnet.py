"""torchxrayvision's segmenter of the chest (PSPNet on ChestX-Det, arXiv 2104.10326), used as the shipped one is."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from gen.errors import UserError
from gen.judges.lungs import LungSegmenter

NAME = "xrv"
SIDE = 512  # pixels
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of the three channels, in brightness
LUNGS, HEART = ("Left Lung", "Right Lung"), "Heart"


class PSPNetChest(nn.Module):
    """Lungs and heart of a network with one channel of logits for each of `targets`, for LungSegmenter."""

    structures = ("lungs", "heart")

    def __init__(self, network: nn.Module, targets: list[str]) -> None:
        super().__init__()
        self.network, self.targets = network, targets

    @classmethod
    def load(cls, weights: str | Path | None = None) -> PSPNetChest:
        """From a safetensors file of the network's state_dict; None lets torchxrayvision fetch its own. Extra [eval].

        Errors: UserError for a missing package, and weights that can be neither read nor fetched.
        """
        try:
            from torchxrayvision.baseline_models.chestx_det import PSPNet
            from torchxrayvision.baseline_models.chestx_det.ptsemseg.pspnet import pspnet
        except ImportError as error:
            raise UserError(f"--lungs {NAME} needs torchxrayvision ({error}): pip install 'cxr-gen[eval]'") from None
        if weights is None:
            return cls(_fetched(PSPNet), PSPNet.targets)
        path, network = Path(weights), pspnet(len(PSPNet.targets))
        if path.suffix != ".safetensors" or not path.is_file():
            raise UserError(f"--lungs {NAME}:{path}: no such safetensors file; pickles are not read")
        try:
            network.load_state_dict(load_file(path))
        except (SafetensorError, RuntimeError) as error:
            raise UserError(f"{path}: no weights of this PSPNet ({str(error).splitlines()[0][:100]})") from None
        return cls(network, PSPNet.targets)

    def forward(self, image: Tensor) -> Tensor:
        """Logits of every target. Shapes: [B, 1, R, R] in [-1, 1] -> [B, T, 512, 512]."""
        small = F.interpolate(image.float(), (SIDE, SIDE), mode="bilinear", antialias=True)
        mean, deviation = (torch.tensor(values).view(1, 3, 1, 1).to(small) for values in (MEAN, DEVIATION))
        return self.network(((small + 1) / 2 - mean) / deviation)

    def probabilities(self, image: Tensor) -> Tensor:
        """Probability of lungs and heart, at the image's own size. Shapes: [B, 1, R, R] in [-1, 1] -> [B, 2, R, R]."""
        found = F.interpolate(self(image), image.shape[-2:], mode="bilinear", antialias=True).sigmoid()
        lungs = found[:, [self.targets.index(name) for name in LUNGS]].amax(1)
        return torch.stack([lungs, found[:, self.targets.index(HEART)]], dim=1)


def lung_segmenter(name: str | None = None) -> LungSegmenter:
    """The shipped segmenter, that of a folder of train/segmenter.py, or "xrv" or "xrv:FILE.safetensors".

    Errors: UserError for one that cannot be loaded.
    """
    if name is not None and name.split(":")[0] == NAME:
        return LungSegmenter(PSPNetChest.load(name.partition(":")[2] or None))
    return LungSegmenter.load(name)


def _fetched(kind: type) -> nn.Module:
    try:
        return kind().model
    except Exception as error:  # the package prints and raises whatever its downloader does
        raise UserError(f"--lungs {NAME}: weights not to be had ({str(error).splitlines()[0][:100]})") from None
