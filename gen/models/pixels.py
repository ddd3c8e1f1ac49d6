"""The codec of models that work on pixels: its latents are the image."""

from __future__ import annotations

import torch

from gen.models.codec import LatentCodec

PIXELS = "pixels"  # what a recipe names in place of a codec's folder


@torch.no_grad()
def pixel_codec() -> LatentCodec:
    """A codec whose latent of an image is the image itself, for pixel-space diffusion.

    Blocks of 2 x 2 pixels become four channels, which `unfold` lays out as pixels again; the trunk beside them adds
    nothing. It is saved and loaded as any codec. Shapes of what it samples: [B, 1, H, W], H and W even.
    """
    codec = LatentCodec("dc", 4, (4, 4), (0, 0), linear_skip=True, unfold=2).requires_grad_(False).eval()
    for part in (codec.autoencoder.encoder, codec.autoencoder.decoder, codec.analysis, codec.synthesis):
        for parameter in part.parameters():
            parameter.zero_()
    codec.autoencoder.encoder.conv_out.bias[4:] = -30.0  # log-variance
    for channel in range(4):
        row, column = divmod(channel, 2)
        codec.analysis.weight[channel, 0, row, column] = 1
        codec.synthesis.weight[channel, 0, row + 1, column + 1] = 1  # of 4 x 4, padded by one
    return codec
