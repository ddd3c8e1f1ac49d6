"""The codec of models that work on pixels: its latents are the image, or its pixels folded into channels."""

from __future__ import annotations

import re

import torch

from gen.models.codec import LatentCodec

PIXELS = "pixels"  # what a recipe names in place of a codec's folder; pixels-8 folds blocks of 8 x 8


@torch.no_grad()
def pixel_codec(fold: int = 1) -> LatentCodec:
    """A codec that loses nothing: its latents are the image itself or, with `fold` p, its blocks of p x p pixels.

    Without folding, blocks of 2 x 2 pixels become four channels, which `unfold` lays out as pixels again; the trunk
    beside them adds nothing. It is saved and loaded as any codec. Channels are in the order of `F.pixel_unshuffle`.
    Shapes of what it samples: [B, p^2, H / p, W / p], H and W even.
    """
    codec = _folding(fold) if fold > 1 else LatentCodec("dc", 4, (4, 4), (0, 0), linear_skip=True, unfold=2)
    side, channels = codec.downsample_factor, codec.config.latent_channels
    for part in (codec.autoencoder.encoder, codec.autoencoder.decoder, codec.analysis, codec.synthesis):
        for parameter in part.parameters():
            parameter.zero_()
    codec.autoencoder.encoder.conv_out.get_parameter("bias")[channels:] = -30.0  # log-variance
    for channel in range(channels):
        row, column = divmod(channel, side)
        codec.analysis.weight[channel, 0, row, column] = 1
        codec.synthesis.weight[channel, 0, row + side // 2, column + side // 2] = 1  # of twice the side, padded by half
    return codec.requires_grad_(False).eval()


def named_pixel_codec(name: str) -> LatentCodec | None:
    """The codec that a recipe means by pixels or pixels-N, N even; None for any other name."""
    found = re.fullmatch(rf"{PIXELS}(?:-(\d*[02468]))?", name)
    return None if found is None or found[1] == "0" else pixel_codec(int(found[1] or 1))


def _folding(fold: int) -> LatentCodec:
    return LatentCodec("dc", fold * fold, (4, 4), (0, 0), patch=fold // 2, linear_skip=True)
