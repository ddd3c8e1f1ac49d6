"""Settings of the image codec and of its loss."""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

from pydantic import Field, model_validator

from gen.schema.base import Strict


class CodecConfig(Strict):
    """Shape of the image codec (gen.models.codec.LatentCodec)."""

    kind: Literal["dc", "kl", "vq"] = Field("dc", description="deep-compression, Gaussian AutoencoderKL or VQ")
    latent_channels: int = Field(description="channels of the latent")
    block_out_channels: tuple[int, ...] = Field(description="widths, finest level first")
    layers_per_block: tuple[int, ...] = Field(description="residual blocks a level; kl and vq use the first")
    patch: int = Field(1, description="pixels folded into channels before the first layer, a side")
    linear_skip: bool = Field(False, description="principal-component path beside the trunk")
    whitening_power: float = Field(1.0, ge=0, le=1, description="0 one scale for all channels, 1 unit variance in each")
    num_vq_embeddings: int = Field(256, description="codebook size (vq)")
    unfold: int = Field(1, ge=1, description="positions a side as which the denoiser sees each latent")

    decoder_channels: tuple[int, ...] | None = Field(None, description="widths of a lighter decoder (dc), finest first")
    decoder_layers: tuple[int, ...] | None = Field(None, description="its residual blocks a level")
    decoder_patch: int = Field(1, description="pixels a side that its last layer sets at once")

    @model_validator(mode="after")
    def _decodes_whole(self) -> CodecConfig:
        channels, layers = self.decoder_channels, self.decoder_layers
        if (channels is None) != (layers is None):
            raise ValueError("decoder_channels, decoder_layers: set both or neither")
        if channels is None or layers is None:
            return self
        grows = self.decoder_patch * 2 ** (len(channels) - 1)
        shrinks = self.patch * 2 ** (len(self.block_out_channels) - 1)
        if self.kind != "dc" or len(channels) != len(layers) or grows != shrinks:
            raise ValueError(
                f"decoder_channels: a decoder of kind dc with as many layers must enlarge {shrinks} times, not {grows}"
            )
        if any(4 * fine % coarse for fine, coarse in pairwise(channels)):
            raise ValueError("decoder_channels: a level's width must divide four times that of the next finer one")
        return self

    @model_validator(mode="after")
    def _unfoldable(self) -> CodecConfig:
        if self.latent_channels % self.unfold**2:
            raise ValueError(
                f"unfold={self.unfold}: {self.latent_channels} latent_channels are no multiple of its square"
            )
        return self

    @model_validator(mode="after")
    def _quantised_whole(self) -> CodecConfig:
        if self.kind == "vq" and self.linear_skip:
            raise ValueError("linear_skip: a codebook cannot quantise what goes past it; leave it out with kind vq")
        return self


class CodecLossConfig(Strict):
    """Weights of the codec's loss terms; 0 leaves a term out."""

    l1: float = Field(1.0, description="mean absolute error")
    gradient: float = Field(0.5, description="mean absolute error of image gradients")
    ssim: float = Field(0.1, description="1 - structural similarity")
    kl: float = Field(1e-3, description="mean Kullback-Leibler divergence a latent element to N(0, 1)")
    codebook: float = Field(1.0, description="vector-quantisation loss (vq)")
    perceptual: float = Field(0.0, description="LPIPS distance; needs its weights on this machine")
    adversarial: float = Field(0.0, description="least-squares adversarial loss of a patch discriminator")
