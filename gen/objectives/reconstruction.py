"""The codec's loss: what a reconstruction must keep, and how the posterior is kept tame."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torchmetrics.functional.image import structural_similarity_index_measure

from gen.errors import UserError
from gen.schema import CodecLossConfig


class ReconstructionLoss(nn.Module):
    """Weighted sum of the terms a config names; holds the discriminator when there is one.

    The multi-level loss of BS-LDM (arXiv 2412.15670) is l1 + codebook + perceptual + adversarial here.
    """

    def __init__(self, config: CodecLossConfig) -> None:
        super().__init__()
        self.config = config
        self.discriminator = PatchDiscriminator() if config.adversarial else None
        self.perceptual = _load_lpips() if config.perceptual else None

    def forward(self, output: Tensor, image: Tensor, moments: Tensor | None, codebook: Tensor | None) -> dict:
        """Weighted terms by name. Shapes: output, image [B, 1, H, W]; moments [B, 2C, h, w] for a Gaussian codec."""
        weights = self.config
        terms = {
            "l1": weights.l1 * (output - image).abs().mean(),
            "gradient": weights.gradient * gradient_difference(output, image),
            "ssim": weights.ssim * (1 - structural_similarity_index_measure(output, image, data_range=2.0)),
        }
        if moments is not None:
            terms["kl"] = weights.kl * kl_divergence(moments)
        if codebook is not None:
            terms["codebook"] = weights.codebook * codebook
        if self.perceptual is not None:
            grey = output.clamp(-1, 1).expand(-1, 3, -1, -1), image.expand(-1, 3, -1, -1)
            terms["perceptual"] = weights.perceptual * self.perceptual(*grey)
        if self.discriminator is not None:
            terms |= self._adversarial(output, image)
        return terms

    def _adversarial(self, output: Tensor, image: Tensor) -> dict[str, Tensor]:
        """Least-squares terms of both players at once: each sees the other's weights or output as constants."""
        fixed = {name: p.detach() for name, p in self.discriminator.named_parameters()}
        fooled = functional_call(self.discriminator, fixed, (output,))
        real, fake = self.discriminator(image), self.discriminator(output.detach())
        return {
            "adversarial": self.config.adversarial * (fooled - 1).square().mean(),
            "discriminator": 0.5 * ((real - 1).square().mean() + fake.square().mean()),
        }


class PatchDiscriminator(nn.Sequential):
    """Scores overlapping patches as real or reconstructed (Isola et al., arXiv 1611.07004). [B, 1, H, W] -> maps."""

    def __init__(self, width: int = 64) -> None:
        super().__init__(
            nn.Conv2d(1, width, 4, 2, 1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(width, 2 * width, 4, 2, 1),
            nn.GroupNorm(16, 2 * width),
            nn.LeakyReLU(0.2),
            nn.Conv2d(2 * width, 4 * width, 4, 2, 1),
            nn.GroupNorm(16, 4 * width),
            nn.LeakyReLU(0.2),
            nn.Conv2d(4 * width, 1, 4, 1, 1),
        )


def gradient_difference(a: Tensor, b: Tensor) -> Tensor:
    """Mean absolute difference of finite differences along both axes."""
    difference = a - b
    rows = difference[..., 1:, :] - difference[..., :-1, :]
    columns = difference[..., :, 1:] - difference[..., :, :-1]
    return rows.abs().mean() + columns.abs().mean()


def kl_divergence(moments: Tensor) -> Tensor:
    """Divergence of N(mean, variance) to N(0, 1), mean over latent elements (Kingma and Welling, arXiv 1312.6114)."""
    mean, log_variance = moments.chunk(2, dim=1)
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).mean()


def psnr(output: Tensor, image: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in dB of each image in [-1, 1], after rounding to 8 bits. Shapes: -> [B]."""
    rounded = (output.clamp(-1, 1) * 127.5).round() / 127.5
    return -10 * torch.log10(((rounded - image) / 2).square().mean(dim=(1, 2, 3)))


def _load_lpips() -> nn.Module:
    from torchmetrics.image.lpip import LearnedPerceptualImagePatchSimilarity

    try:
        return LearnedPerceptualImagePatchSimilarity(net_type="alex").requires_grad_(False)
    except OSError as error:
        raise UserError(f"loss.perceptual: the AlexNet weights of LPIPS are not here ({error}); set it to 0") from None
