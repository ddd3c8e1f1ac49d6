"""A trained network inside one that is yet to be trained."""

from __future__ import annotations

from typing import ClassVar, Self

from torch import nn


class KeepsPart(nn.Module):
    """A module of whose parts the one named `kept`, where there is one, stays as it is when the others are trained."""

    kept: ClassVar[str]

    def train(self, mode: bool = True) -> Self:
        """All but that part."""
        super().train(mode)
        part = getattr(self, self.kept)
        if part is not None:
            part.requires_grad_(False).eval()
        return self
