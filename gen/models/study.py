"""The images of one study as tensors: which are given, of which views, and which is asked for."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import zip_longest

import torch
from torch import Tensor

from gen.errors import UserError

VIEW_NAMES = ("UNKNOWN", "PA", "AP", "AP SUPINE", "LATERAL")
NOMINAL = {"PA": 0.0, "LATERAL": 90.0, "AP": 180.0, "AP SUPINE": 180.0}  # degrees, where nothing else is said


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
