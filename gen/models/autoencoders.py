"""The three diffusers autoencoders that a codec can wrap, built from the fields of a codec's configuration."""

from __future__ import annotations

from diffusers import AutoencoderDC, AutoencoderKL, VQModel


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
