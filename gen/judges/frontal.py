"""Whether an image is an upright frontal chest radiograph, and if not, why not: asked before it is worked on."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from gen.judges.lungs import LungSegmenter
from gen.judges.reader import Reader
from gen.judges.sanity import sanity

LATERAL = 0.5  # probability of the reader's view from which an image counts as lateral
REMEDIES = {
    "blank": "shows nothing",
    "saturated": "is burnt out; export it with its window applied",
    "inverted": "has dark bone; turn its grey levels over first",
    "no lungs": "shows no lungs of a frontal chest radiograph",
    "one lung": "shows one lung only: a crop, or the other one is opaque",
    "lateral": "is a lateral radiograph; frontal ones only",
}


@cache
def _judges() -> tuple[LungSegmenter, Reader]:
    return LungSegmenter.load(), Reader.load()


@torch.no_grad()
def frontal_problems(images: Tensor) -> list[str]:
    """A key of REMEDIES for each image, "" where nothing is wrong. Shapes: [B, 1, H, W] in [-1, 1]."""
    lungs, reader = _judges()
    views = reader.read(images).view
    lateral = [name for name, view in enumerate(reader.views) if view == "LATERAL"]
    seen = views[:, lateral].sum(1).tolist() if lateral else [0.0] * len(images)
    reasons = sanity(images, lungs).reason
    return [reason or ("lateral" if share > LATERAL else "") for reason, share in zip(reasons, seen, strict=True)]
