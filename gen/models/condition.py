"""What a denoiser is told besides the noisy latent."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor


@dataclass(frozen=True)
class Condition:
    """Tokens to attend to and feature maps to concatenate, one row a sample.

    Shapes: tokens [B, L, D], mask [B, L] True where a token counts, spatial [B, C, h, w] or None.
    The null_* fields are what guidance compares with and what a dropped sample gets; they have the same shapes.
    `summarised` [B, L] marks the tokens that the summary is the mean of, of those that count; None means all.
    """

    tokens: Tensor
    mask: Tensor
    null_tokens: Tensor
    null_mask: Tensor
    spatial: Tensor | None = None
    null_spatial: Tensor | None = None
    summarised: Tensor | None = None

    def summary(self) -> Tensor:
        """Mean of the tokens that count. Shapes: -> [B, D]."""
        return masked_mean(self.tokens, self.mask if self.summarised is None else self.mask & self.summarised)

    def drop(self, probability: float, generator: torch.Generator | None = None) -> Condition:
        """Replace each sample's condition by its null with this probability, drawn per sample."""
        keep = torch.rand(len(self.tokens), generator=generator) >= probability
        return self._select(keep.to(self.tokens.device))

    def null(self) -> Condition:
        """The condition with every sample dropped."""
        return self._select(torch.zeros(len(self.tokens), dtype=torch.bool, device=self.tokens.device))

    def cat_null(self) -> Condition:
        """Null and given condition in one batch of 2B rows, null first, for classifier-free guidance."""
        null = self.null()
        return Condition(
            **{
                field.name: None
                if getattr(self, field.name) is None
                else torch.cat([getattr(null, field.name), getattr(self, field.name)])
                for field in fields(self)
            }
        )

    def rows(self, which: slice) -> Condition:
        """The condition of some of the samples."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return Condition(**{name: None if value is None else value[which] for name, value in values.items()})

    def scaled(self, amplitude: Tensor) -> Condition:
        """With the concatenated maps multiplied by an amplitude a sample. Shapes: [B, 1, 1, 1]."""
        return self if self.spatial is None else replace(self, spatial=amplitude * self.spatial)

    def _select(self, keep: Tensor) -> Condition:
        return replace(
            self,
            tokens=torch.where(keep[:, None, None], self.tokens, self.null_tokens),
            mask=torch.where(keep[:, None], self.mask, self.null_mask),
            spatial=_kept(keep, self.spatial, self.null_spatial),
        )


@dataclass(frozen=True)
class FirstAnswer:
    """Clean latents that stand for what the noisiest steps of a drawing would find, in the rows that are known.

    `null` is the answer with nothing known, which `guided` compares with.
    Shapes: latents and null [B, C, h, w], known [B].
    """

    latents: Tensor
    null: Tensor
    known: Tensor

    def guided(self, scale: float) -> FirstAnswer:
        """With what is known made so many times as strong."""
        return replace(self, latents=self.null + scale * (self.latents - self.null))

    def over(self, z: Tensor, noise: Tensor, kept: float) -> Tensor:
        """The known rows of z as this answer with so much of the variance, the noise making up the rest."""
        noisy = math.sqrt(kept) * self.latents.to(z) + math.sqrt(1 - kept) * noise
        return torch.where(self.known[:, None, None, None], noisy, z)


def _kept(keep: Tensor, given: Tensor | None, null: Tensor | None) -> Tensor | None:
    return given if given is None or null is None else torch.where(keep[:, None, None, None], given, null)


def masked_mean(tokens: Tensor, mask: Tensor) -> Tensor:
    """Mean over the positions where the mask is True; zero where it never is. Shapes: [B, L, D], [B, L] -> [B, D]."""
    weight = mask.to(tokens.dtype)
    return torch.einsum("bld,bl->bd", tokens, weight) / weight.sum(1, keepdim=True).clamp_min(1)
