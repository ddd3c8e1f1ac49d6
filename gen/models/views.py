"""The view asked for and the other views of a study, as tokens and feature maps."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import zip_longest

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn

from gen.errors import UserError
from gen.models.frozen import KeepsPart
from gen.models.study_code import HARMONICS, StudyCoder, waves

VIEW_NAMES = ("UNKNOWN", "PA", "AP", "AP SUPINE", "LATERAL")
NOMINAL = {"PA": 0.0, "LATERAL": 90.0, "AP": 180.0, "AP SUPINE": 180.0}  # degrees, where nothing else is said
CODE_TOKENS = 4


class ViewEncoder(KeepsPart, ModelMixin, ConfigMixin):
    """Embeds a view with its angle, and sets of context images whose order never counts.

    A context image becomes `grid` x `grid` tokens that carry its own view. For pixel detail the latents also come as
    feature maps: the mean of the frontal and of the lateral images, each with a map of ones where there is any.
    `part_drop` is the probability that training leaves out a part: prompt, view, angle, each context image by itself.
    `coder` are the settings of a `StudyCoder`, frozen: the code of the context images comes as a few tokens more, which
    begin as zeros.
    """

    kept = "study_coder"

    @register_to_config
    def __init__(
        self,
        latent_channels: int,
        width: int,
        grid: int = 8,
        hidden: int = 64,
        part_drop: float = 0.2,
        coder: dict | None = None,
    ) -> None:
        super().__init__()
        self.view = nn.Embedding(len(VIEW_NAMES), width)
        self.angle = nn.Linear(2 * HARMONICS, width, bias=False)
        self.given = nn.Linear(width, width)  # what it means that an image is given, not asked for, in this view
        self.place = nn.Parameter(torch.randn(grid**2, width) / width**0.5)
        self.image = nn.Sequential(
            nn.Conv2d(latent_channels, hidden, 3, padding=1),
            nn.SiLU(),
            nn.Conv2d(hidden, 2 * hidden, 3, stride=2, padding=1),
            nn.SiLU(),
            nn.AdaptiveAvgPool2d(grid),
            nn.Conv2d(2 * hidden, width, 1),
        )
        self.study_coder = None if coder is None else StudyCoder(**coder)
        if self.study_coder is not None:
            self.told = nn.Linear(self.study_coder.config.features, CODE_TOKENS * width)
            nn.init.zeros_(self.told.weight)
            nn.init.zeros_(self.told.bias)

    @classmethod
    def knowing(cls, coder: StudyCoder, **settings: float) -> ViewEncoder:
        """A new encoder around a trained coder of studies."""
        names = ("latent_channels", "width", "features", "dropout", "resolution")
        encoder = cls(**settings, coder={name: coder.config[name] for name in names})
        encoder.study_coder.load_state_dict(coder.state_dict())
        return encoder

    @property
    def summarised(self) -> int:
        """How many of its tokens, from the first, count for the summary: the view's own and those of the code."""
        return 1 if self.study_coder is None else 1 + CODE_TOKENS

    def views(self, numbers: Tensor, angles: Tensor) -> Tensor:
        """Embedding of views (places in VIEW_NAMES) and angles (degrees, NaN unknown). Shapes: 2 [...] -> [..., D]."""
        return self.view(numbers) + self.angle(waves(angles).to(self.angle.weight.dtype))

    def forward(self, study: Study) -> tuple[Tensor, Tensor]:
        """Tokens and their mask: the view's own, the code's, those of its context. Shapes: -> [B, T, D], [B, T]."""
        asked = self.views(study.view, study.angle)[:, None]  # [B, 1, D]
        leading = torch.cat([asked, self._told(study)], dim=1) if self.study_coder is not None else asked
        features = (
            self.image(study.latents.to(self.place.dtype).flatten(0, 1)).flatten(2).transpose(1, 2)
        )  # [B M, g g, D]
        features = features.unflatten(0, study.mask.shape) + self.place
        given = features + self.given(self.views(study.views, study.angles))[:, :, None]
        counts = study.mask[:, :, None].expand(given.shape[:3]).flatten(1)  # [B, M g g]
        tokens = torch.cat([leading, given.flatten(1, 2) * counts[..., None]], dim=1)
        there = torch.cat([torch.ones_like(counts[:, :1]), study.mask.any(1, True).expand(-1, self.summarised - 1)], 1)
        return tokens, torch.cat([there, counts], dim=1)

    def _told(self, study: Study) -> Tensor:
        """The code of the context as tokens, each of its parts of about 1. Shapes: -> [B, CODE_TOKENS, D]."""
        with torch.no_grad():
            code = self.study_coder.of_study(study.latents, study.mask, study.angles) * math.sqrt(
                self.study_coder.config.features
            )
        return self.told(code).unflatten(1, (CODE_TOKENS, -1)) * study.mask.any(1)[:, None, None]


@dataclass(frozen=True)
class Study:
    """What is asked for, and what is given of its study: B images, each with up to M context images.

    Shapes: view [B] and views [B, M] (places in VIEW_NAMES), angle [B] and angles [B, M] (degrees, NaN unknown),
    latents [B, M, c, h, w], mask [B, M].
    """

    view: Tensor
    angle: Tensor
    latents: Tensor
    mask: Tensor
    views: Tensor
    angles: Tensor

    def drop(self, probability: float) -> Study:
        """Each part left out with this probability, by itself."""
        view, angle, mask = (torch.rand(part.shape, device=part.device) < probability for part in self._parts())
        return replace(
            self,
            view=self.view.masked_fill(view, 0),
            angle=self.angle.masked_fill(angle, float("nan")),
            mask=self.mask & ~mask,
        )

    def _parts(self) -> tuple[Tensor, Tensor, Tensor]:
        return self.view, self.angle, self.mask

    def slots(self) -> Tensor:
        """Means of the frontal and of the lateral context images, each with a map of where there is one.

        Shapes: -> [B, 2 (c + 1), h, w].
        """
        lateral = self.views == VIEW_NAMES.index("LATERAL")
        chosen = torch.stack([self.mask & ~lateral, self.mask & lateral], dim=1).to(self.latents.dtype)  # [B, 2, M]
        weights = chosen / chosen.sum(2, keepdim=True).clamp_min(1)
        means = torch.einsum("bsm,bmchw->bschw", weights, self.latents)
        there = chosen.amax(2)[:, :, None, None, None].expand(-1, -1, 1, *means.shape[-2:])
        return torch.cat([means, there], dim=2).flatten(1, 2)


def read_study(batch: dict, separator: str) -> Study:
    """The study of a batch: `view` and `angle` (degrees) a row, `link_context` and its mask, and what the context
    images are, `context_view` and `context_angle`, joined by the separator.

    Errors: UserError for a name that is no view.
    """
    latents, mask = batch["link_context"], batch["link_context_mask"]
    names, angles = (
        [[asked, *given.split(separator)] for asked, given in zip(batch[name], batch[f"context_{name}"], strict=True)]
        for name in ("view", "angle")
    )
    pairs = [[_place(*pair) for pair in zip_longest(*row, fillvalue="")] for row in zip(names, angles, strict=True)]
    numbers = torch.full((len(pairs), 1 + mask.shape[1], 2), math.nan)
    numbers[..., 0] = 0
    for row, pair in zip(numbers, pairs, strict=True):
        row[: len(pair)] = torch.tensor(pair[: len(row)])
    view, angle = numbers[..., 0].long().to(mask.device), numbers[..., 1].to(mask.device)
    return Study(view[:, 0], angle[:, 0], latents, mask, view[:, 1:], angle[:, 1:])


def _place(name: str, said: float | str | None) -> tuple[int, float]:
    """Place of a view in VIEW_NAMES and its angle, the view's own where none is said."""
    if name and name not in VIEW_NAMES:
        raise UserError(f"view {name!r}: one of {', '.join(VIEW_NAMES)}")
    angle = math.nan if said in ("", None) else float(said)
    return VIEW_NAMES.index(name or VIEW_NAMES[0]), NOMINAL.get(name, math.nan) if math.isnan(angle) else angle
