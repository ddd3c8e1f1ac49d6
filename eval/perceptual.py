"""LPIPS, whose backbone is torchvision's: neither torchmetrics nor this package holds its weights."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from gen.errors import UserError

if TYPE_CHECKING:
    from torch import nn

Backbone = Literal["alex", "vgg", "squeeze"]
WEIGHTS = {"alex": "AlexNet_Weights", "vgg": "VGG16_Weights", "squeeze": "SqueezeNet1_1_Weights"}
WEIGHTS_ONLY = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"  # torch.hub would otherwise run what a pickle says


def perceptual_network(backbone: Backbone) -> nn.Module:
    """LPIPS (Zhang et al. 2018, arXiv 1801.03924) over a backbone of torchvision, which torch.hub fetches if need be.

    Errors: UserError naming the file that is needed, and its place, where it can be neither read nor fetched.
    """
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
