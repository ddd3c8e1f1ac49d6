"""The view asked for and the other views of a study, as tokens and feature maps."""

from __future__ import annotations

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn

from gen.models.first_view import FirstView
from gen.models.frozen import KeepsPart
from gen.models.study import VIEW_NAMES, Study
from gen.models.study_code import HARMONICS, waves


class ViewEncoder(KeepsPart, ModelMixin, ConfigMixin):
    """Embeds a view with its angle, and sets of context images whose order never counts.

    A context image becomes `grid` x `grid` tokens that carry its own view. For pixel detail the latents also come as
    feature maps: the mean of the frontal and of the lateral images, each with a map of ones where there is any.
    `part_drop` is the probability that training leaves out a part: prompt, view, angle, each context image by itself.
    `first` are the settings of a `FirstView`, frozen, whose answer drawing begins with; with `shown` that answer is a
    feature map as well.
    """

    kept = "first_view"

    @register_to_config
    def __init__(
        self,
        latent_channels: int,
        width: int,
        grid: int = 8,
        hidden: int = 64,
        part_drop: float = 0.2,
        first: dict | None = None,
        shown: bool = False,
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
        if not isinstance(shown, bool) or (shown and first is None):
            raise ValueError(f"shown={shown!r}: true or false, and false without a first answer")
        self.first_view = None if first is None else FirstView(**first)

    def beginning_with(self, first: FirstView, shown: bool = False) -> ViewEncoder:
        """This encoder around a trained network of first answers."""
        self.register_to_config(first=first.settings(), shown=shown)
        self.first_view = first.to(self.place.device, self.place.dtype)
        return self.train(self.training)

    def views(self, numbers: Tensor, angles: Tensor) -> Tensor:
        """Embedding of views (places in VIEW_NAMES) and angles (degrees, NaN unknown). Shapes: 2 [...] -> [..., D]."""
        return self.view(numbers) + self.angle(waves(angles).to(self.angle.weight.dtype))

    def forward(self, study: Study) -> tuple[Tensor, Tensor]:
        """Tokens and their mask, the first the view's own. Shapes: B studies -> [B, 1 + M g g, D], [B, 1 + M g g]."""
        asked = self.views(study.view, study.angle)[:, None]  # [B, 1, D]
        features = (
            self.image(study.latents.to(self.place.dtype).flatten(0, 1)).flatten(2).transpose(1, 2)
        )  # [B M, g g, D]
        features = features.unflatten(0, study.mask.shape) + self.place
        given = features + self.given(self.views(study.views, study.angles))[:, :, None]
        counts = study.mask[:, :, None].expand(given.shape[:3]).flatten(1)  # [B, M g g]
        tokens = torch.cat([asked, given.flatten(1, 2) * counts[..., None]], dim=1)
        return tokens, torch.cat([torch.ones_like(counts[:, :1]), counts], dim=1)

    def maps(self, study: Study) -> Tensor:
        """Latents beside the noise: the slots of the study, and with `shown` the first answer with a map of ones.

        Shapes: -> [B, C, h, w].
        """
        slots = study.slots()
        if not self.config.shown:
            return slots
        there, answer = study.mask.any(1)[:, None, None, None], self.first_view(study).to(slots)
        shown = torch.where(there, answer, torch.zeros_like(answer))
        return torch.cat([slots, shown, there.to(slots).expand_as(answer[:, :1])], dim=1)
