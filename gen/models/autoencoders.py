"""The three diffusers autoencoders that a codec can wrap, built from the fields of a codec's configuration."""

from __future__ import annotations

from diffusers import AutoencoderDC, AutoencoderKL, VQModel
from diffusers.models.autoencoders.autoencoder_dc import Decoder
from torch import Tensor
from torch.nn import functional as F


class LightDecoder(Decoder):
    """A deep-compression decoder that stops at a coarser grid and sets patch x patch pixels at each of its positions.

    Most of a decoder's time goes into its finest levels, which hold a few channels for very many positions.
    """

    def __init__(self, latent_channels: int, widths: tuple[int, ...], layers: tuple[int, ...], patch: int) -> None:
        super().__init__(
            in_channels=patch**2,
            latent_channels=2 * latent_channels,
            block_out_channels=tuple(widths),
            layers_per_block=tuple(layers),
            qkv_multiscales=((),) * len(widths),
            in_shortcut=False,
        )
        self.patch = patch

    def forward(self, hidden_states: Tensor) -> Tensor:
        """Shapes: [B, 2C, h, w] -> [B, 1, H, W]."""
        return F.pixel_shuffle(super().forward(hidden_states), self.patch)


def _build_dc(image_channels: int, latent_channels: int, widths: tuple, layers: tuple, _: int) -> AutoencoderDC:
    nothing = ((),) * len(widths)
    return AutoencoderDC(
        in_channels=image_channels,
        latent_channels=2 * latent_channels,
        encoder_block_out_channels=tuple(widths),
        decoder_block_out_channels=tuple(widths),
        encoder_layers_per_block=tuple(layers),
        decoder_layers_per_block=tuple(layers),
        encoder_qkv_multiscales=nothing,
        decoder_qkv_multiscales=nothing,
        encoder_out_shortcut=False,
        decoder_in_shortcut=False,
    )


def _build_kl(image_channels: int, latent_channels: int, widths: tuple, layers: tuple, _: int) -> AutoencoderKL:
    return AutoencoderKL(**_convolutional(image_channels, latent_channels, widths, layers))


def _build_vq(image_channels: int, latent_channels: int, widths: tuple, layers: tuple, codes: int) -> VQModel:
    shape = _convolutional(image_channels, latent_channels, widths, layers)
    return VQModel(num_vq_embeddings=codes, vq_embed_dim=latent_channels, **shape)


def _convolutional(image_channels: int, latent_channels: int, widths: tuple, layers: tuple) -> dict:
    return {
        "in_channels": image_channels,
        "out_channels": image_channels,
        "latent_channels": latent_channels,
        "block_out_channels": tuple(widths),
        "layers_per_block": layers[0],
        "down_block_types": ("DownEncoderBlock2D",) * len(widths),
        "up_block_types": ("UpDecoderBlock2D",) * len(widths),
        "norm_num_groups": min(16, widths[0]),
        "mid_block_add_attention": False,
    }


BUILDERS = {"dc": _build_dc, "kl": _build_kl, "vq": _build_vq}
