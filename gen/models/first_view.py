"""What the other views of a study tell of the one asked for: the mean of all that it may look like, in one call.

Where a drawing is still all noise the best answer is that mean (Karras et al., arXiv 2206.00364), and a plain
network that learns nothing else knows it better than a denoiser does, which learns it beside everything else.
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from diffusers import ModelMixin
from diffusers.configuration_utils import ConfigMixin, register_to_config
from torch import Tensor, nn
from torch.nn import functional as F

from gen.errors import UserError
from gen.models.frozen import KeepsPart
from gen.models.study import VIEW_NAMES, Study
from gen.models.study_code import GRID, HARMONICS, StudyCoder, waves

CODER_SETTINGS = ("latent_channels", "width", "features", "dropout", "resolution")


class FirstView(KeepsPart, ModelMixin, ConfigMixin):
    """The code of a study's other views, the view and the angle asked for -> the mean latents of such a view.

    `coder` are the settings of a `StudyCoder`, frozen; `side` is that of the latents, GRID times a power of two.
    """

    kept = "study_coder"

    @register_to_config
    def __init__(self, coder: dict, side: int = 32, width: int = 48, hidden: int = 96) -> None:
        super().__init__()
        doublings = round(math.log2(side / GRID))
        if doublings < 1 or GRID * 2**doublings != side:
            raise ValueError(f"side={side}: must be {2 * GRID}, {4 * GRID}, {8 * GRID} or a further doubling")
        self.study_coder = StudyCoder(**coder)
        features = self.study_coder.config.features
        self.view = nn.Embedding(len(VIEW_NAMES), hidden)
        self.told = nn.Sequential(nn.Linear(features + 2 * HARMONICS, hidden), nn.SiLU(), nn.Linear(hidden, hidden))
        widths = (2 * width, 2 * width, *[width] * (doublings - 1))
        self.start = nn.Linear(hidden, widths[0] * GRID**2)
        self.doubled = nn.ModuleList(DoubledBlock(*pair, hidden) for pair in pairwise(widths))
        self.out = nn.Conv2d(widths[-1], coder["latent_channels"], 3, padding=1)

    @classmethod
    def around(cls, coder: StudyCoder, **settings: int) -> FirstView:
        """An untrained network around a trained coder of studies."""
        first = cls({name: coder.config[name] for name in CODER_SETTINGS}, **settings)
        first.study_coder.load_state_dict(coder.state_dict())
        return first

    def settings(self) -> dict:
        """What makes another of the same shape."""
        return {name: self.config[name] for name in ("coder", "side", "width", "hidden")}

    def code(self, study: Study) -> Tensor:
        """The code of the context, each of its parts of about 1; zeros where nothing is given. Shapes: -> [B, D]."""
        with torch.no_grad():
            code = self.study_coder.of_study(study.latents, study.mask, study.angles)
        return code * math.sqrt(code.shape[1])

    def forward(self, study: Study) -> Tensor:
        """Shapes: B studies -> [B, c, h, w]."""
        return self.answer(self.code(study), study.view, study.angle)

    def of_nobody(self, study: Study) -> Tensor:
        """The same view asked for, with nothing known of the patient. Shapes: B studies -> [B, c, h, w]."""
        nothing = torch.zeros(len(study.view), self.study_coder.config.features, device=study.view.device)
        return self.answer(nothing, study.view, study.angle)

    def check_side(self, side: int, name: str) -> None:
        """Errors: UserError where the latents to begin with are of another size."""
        if self.config.side != side:
            raise UserError(f"{name}: answers {self.config.side} wide where latents are {side}; train one at this size")

    def answer(self, code: Tensor, view: Tensor, angle: Tensor) -> Tensor:
        """Shapes: code [B, D], view [B] (places in VIEW_NAMES), angle [B] (degrees, NaN unknown) -> [B, c, h, w]."""
        told = torch.cat([code, waves(angle)], dim=1).to(self.dtype)
        asked = F.silu(self.told(told) + self.view(view))
        x = self.start(asked).unflatten(1, (-1, GRID, GRID))
        for block in self.doubled:
            x = block(x, asked)
        return self.out(F.silu(x))


class DoubledBlock(nn.Module):
    """Twice the side, then two convolutions with what is asked for as scale and shift between them."""

    def __init__(self, before: int, after: int, asked: int) -> None:
        super().__init__()
        self.first, self.norm = nn.Conv2d(before, after, 3, padding=1), nn.GroupNorm(8, after)
        self.change = nn.Linear(asked, 2 * after)
        self.last = nn.Conv2d(after, after, 3, padding=1)

    def forward(self, x: Tensor, asked: Tensor) -> Tensor:
        """Shapes: x [B, C, h, w], asked [B, E] -> [B, C', 2 h, 2 w]."""
        scale, shift = self.change(asked)[..., None, None].chunk(2, dim=1)
        x = self.norm(self.first(F.interpolate(x, scale_factor=2, mode="bilinear")))
        return self.last(F.silu(x * (1 + scale) + shift))
