"""Perceptual distance: LPIPS over torchvision's networks, whose weights no package holds, or the shipped reader."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from gen.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor, nn

Backbone = Literal["reader", "alex", "vgg", "squeeze"]
Distance = Callable[["Tensor", "Tensor"], "Tensor"]
WEIGHTS = {"alex": "AlexNet_Weights", "vgg": "VGG16_Weights", "squeeze": "SqueezeNet1_1_Weights"}
NAMES = WEIGHTS | {"reader": "the shipped reader, all layers alike: on a scale of its own, not the published one"}
MULTIPLE = 32  # pixels
WEIGHTS_ONLY = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"  # torch.hub would otherwise run what a pickle says


def perceptual_network(backbone: Backbone) -> Distance:
    """LPIPS (Zhang et al. 2018, arXiv 1801.03924) over the shipped reader or a backbone of torchvision.

    torch.hub fetches the latter if need be. The reader's layers all weigh alike: nobody has asked people about them.
    Errors: UserError naming the file that is needed, and its place, where it can be neither read nor fetched.
    """
    if backbone == "reader":
        return _reader_distance()
    from torchmetrics.image import LearnedPerceptualImagePatchSimilarity

    if backbone not in get_args(Backbone):
        raise UserError(f"--lpips {backbone}: unknown; one of {', '.join(get_args(Backbone))}")
    try:
        with redirect_stdout(sys.stderr), _weights_only():
            return LearnedPerceptualImagePatchSimilarity(backbone).eval()
    except Exception as error:  # a damaged pickle raises nearly anything
        file, address = _where(backbone)
        state = "cannot be read" if file.exists() else "is not there and could not be fetched"
        reason = (str(error).splitlines() or [type(error).__name__])[0][:150]
        raise UserError(f"--lpips {backbone}: {file} {state} ({reason}); put {address} there") from None


def reader_distance(stages: nn.Module, images: Tensor, others: Tensor) -> Tensor:
    """Mean squared difference of unit-length features, summed over the stages (arXiv 1801.03924, equation 1, w = 1).

    Both images are standardised together. Shapes: [B, C, H, W] twice, whose channels are alike -> one number.
    """
    import torch
    from torch.nn import functional as F

    pair = torch.stack([images[:, 0], others[:, 0]])[:, :, None]  # [2, B, 1, H, W]
    std, mean = torch.std_mean(pair, dim=(0, 3, 4), keepdim=True)
    x, total = ((pair - mean) / std.clamp_min(0.02)).flatten(0, 1), 0.0
    for stage in stages:
        x = stage(x)
        one, other = F.normalize(x, dim=1).chunk(2)
        total = total + (one - other).square().sum(1).mean()
    return total


def _reader_distance() -> Distance:
    """The shipped reader's stem and residual blocks, at the images' own size."""
    from torch import nn

    from gen.judges.reader import Reader

    layers = list(Reader.load().classifier.trunk)
    stages = nn.ModuleList([nn.Sequential(*layers[:3]), *layers[3:-2]]).eval()
    return lambda images, others: reader_distance(stages, _padded(images), _padded(others))


def _padded(images: Tensor) -> Tensor:
    """Sides that the stages can halve; what is added repeats the edge. Shapes: [B, C, H, W] -> [B, C, H', W']."""
    from torch.nn import functional as F

    height, width = images.shape[-2:]
    return F.pad(images, (0, -width % MULTIPLE, 0, -height % MULTIPLE), mode="replicate")


def _where(backbone: Backbone) -> tuple[Path, str]:
    """The file torch.hub looks for, and its address."""
    import torch
    import torchvision

    address = getattr(torchvision.models, WEIGHTS[backbone]).DEFAULT.url
    return Path(torch.hub.get_dir()) / "checkpoints" / address.rsplit("/", 1)[-1], address


@contextmanager
def _weights_only() -> Iterator[None]:
    before = os.environ.get(WEIGHTS_ONLY)
    os.environ[WEIGHTS_ONLY] = "1"
    try:
        yield
    finally:
        os.environ.pop(WEIGHTS_ONLY) if before is None else os.environ.update({WEIGHTS_ONLY: before})
