"""Drawing a change of an image in place of the image, so that nothing drawn is nothing changed."""

from __future__ import annotations

from torch import Tensor


class DrawsChange:
    """What a conditioner adds whose setting `residual` is the unit of the change in latents, or None for the image."""

    def drawn(self, image: Tensor, start: Tensor) -> Tensor:
        """What the denoiser draws, from an image's latents and what they differ from. Shapes: [B, C, h, w] -> same."""
        return image if self.config.residual is None else (image - start) / self.config.residual

    def finished(self, z: Tensor, start: Tensor) -> Tensor:
        """The image's latents from what was drawn: the inverse of `drawn`. Shapes: [B, C, h, w] twice -> the same."""
        return z if self.config.residual is None else start + self.config.residual * z
