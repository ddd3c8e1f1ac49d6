"""Image codec: a radiograph to whitened latents and back.

One class wraps three diffusers autoencoders, so that everything downstream sees the same four verbs:
`moments` (image to posterior), `sample` (posterior to whitened latent), `decode` (whitened latent to image)
and `reconstruct`. Moments are [B, 2C, h, w]: C channels of mean, then C of log-variance.
"""

from __future__ import annotations

from typing import Literal

import torch
from diffusers import AutoencoderKL, ModelMixin
from diffusers.configuration_utils import ConfigMixin, register_to_config
from torch import Tensor, nn
from torch.nn import functional as F

from gen.models.autoencoders import BUILDERS, LightDecoder
from gen.models.linear_code import lapped_synthesis, principal_components, unfolding, whitening

LOG_VARIANCE_RANGE = (-30.0, 10.0)

CodecKind = Literal["dc", "kl", "vq"]


class LatentCodec(ModelMixin, ConfigMixin):
    """A one-channel autoencoder with per-channel latent whitening.

    `dc` is diffusers' AutoencoderDC trunk with a Gaussian posterior (Chen et al., arXiv 2410.10733), `kl`
    AutoencoderKL (Rombach et al., arXiv 2112.10752), `vq` VQModel. `patch` folds p x p pixels into channels before
    the trunk. `linear_skip` adds a linear patch transform beside the trunk, started at the principal components
    of the training images, so that the network only learns what a linear code leaves over. `wrapped` is the diffusers
    config of an AutoencoderKL that was made elsewhere. `unfold` u shows every latent to the denoiser as u x u positions
    of C / u^2 channels, by an orthogonal map that puts detail where it lies (`gen.models.linear_code.unfolding`): the
    code stays the same, and so does the noise, but edges run on from one position to the next. `decoder_channels`,
    `decoder_layers` and `decoder_patch` give a `dc` codec a lighter decoder than its encoder mirrored
    (`gen.models.recoding.redecoded`).
    """

    _supports_gradient_checkpointing = True

    @register_to_config
    def __init__(
        self,
        kind: CodecKind = "dc",
        latent_channels: int = 16,
        block_out_channels: tuple[int, ...] = (16, 32, 64, 128, 128),
        layers_per_block: tuple[int, ...] = (0, 1, 2, 3, 2),
        patch: int = 1,
        image_channels: int = 1,
        linear_skip: bool = False,
        whitening_power: float = 1.0,
        num_vq_embeddings: int = 256,
        wrapped: dict | None = None,
        unfold: int = 1,
        decoder_channels: tuple[int, ...] | None = None,
        decoder_layers: tuple[int, ...] | None = None,
        decoder_patch: int = 1,
    ) -> None:
        super().__init__()
        self.autoencoder = (
            AutoencoderKL.from_config(wrapped)
            if wrapped
            else BUILDERS[kind](
                patch * patch * image_channels, latent_channels, block_out_channels, layers_per_block, num_vq_embeddings
            )
        )
        self.downsample_factor = patch * 2 ** (len(block_out_channels) - 1)
        if decoder_channels is not None and decoder_layers is not None:
            self.autoencoder.decoder = LightDecoder(latent_channels, decoder_channels, decoder_layers, decoder_patch)
        if kind == "dc":
            self.expand_latent = nn.Conv2d(latent_channels, 2 * latent_channels, 1)
        if linear_skip:
            f = self.downsample_factor
            self.analysis = nn.Conv2d(image_channels, latent_channels, f, stride=f)
            self.synthesis = nn.ConvTranspose2d(latent_channels, image_channels, 2 * f, stride=f, padding=f // 2)
        self.register_buffer("latent_shift", torch.zeros(latent_channels))
        self.register_buffer("latent_scale", torch.ones(latent_channels))
        if unfold > 1:
            self.register_buffer("unfolding", torch.eye(latent_channels))

    @classmethod
    def from_autoencoder(cls, autoencoder: AutoencoderKL) -> LatentCodec:
        """Wrap a Stable-Diffusion-type AutoencoderKL; grey images enter as three equal channels."""
        config = autoencoder.config
        codec = cls(
            kind="kl",
            latent_channels=config.latent_channels,
            block_out_channels=tuple(config.block_out_channels),
            layers_per_block=(config.layers_per_block,) * len(config.block_out_channels),
            image_channels=config.in_channels,
            wrapped={name: value for name, value in config.items() if not name.startswith("_")},
        )
        codec.autoencoder = autoencoder
        codec.latent_shift.fill_(getattr(config, "shift_factor", None) or 0.0)
        codec.latent_scale.fill_(1 / config.scaling_factor)
        return codec

    def latent_shape(self, resolution: int) -> tuple[int, int, int]:
        """Shape of what `sample` returns for a square image of this side, pixels: (channels, h, w)."""
        side = resolution // self.downsample_factor * self.config.unfold
        return self.config.latent_channels // self.config.unfold**2, side, side

    @property
    def lossless(self) -> bool:
        """Whether the latents are as many numbers as the pixels and a linear code of them: `gen.models.pixels`."""
        return self.config.linear_skip and self.config.latent_channels == self.downsample_factor**2

    # ---- the four verbs -------------------------------------------------------------------------------------

    def moments(self, image: Tensor) -> Tensor:
        """Posterior of an image. Shapes: [B, 1, H, W] in [-1, 1] -> [B, 2C, H/f, W/f]."""
        x = F.pixel_unshuffle(image.expand(-1, self.config.image_channels, -1, -1), self.config.patch)
        if self.config.kind == "kl":
            moments = self.autoencoder.encode(x).latent_dist.parameters
        elif self.config.kind == "dc":
            moments = self.autoencoder.encode(x).latent
        else:
            quantised = self.autoencoder.quantize(self.autoencoder.encode(x).latents)[0]
            moments = torch.cat([quantised, torch.full_like(quantised, LOG_VARIANCE_RANGE[0])], dim=1)
        mean, log_variance = moments.chunk(2, dim=1)
        if self.config.linear_skip:
            mean = mean + self.analysis(image)
        return torch.cat([mean, log_variance.clamp(*LOG_VARIANCE_RANGE)], dim=1)

    def sample(self, moments: Tensor, noise: Tensor | None = None) -> Tensor:
        """Whitened latent from moments; `noise` of the mean's shape draws from the posterior, None takes its mean.

        Shapes: [B, 2C, h, w] -> [B, C, h, w], or [B, C / u^2, u h, u w] where latents are unfolded.
        """
        z = self._whitened(moments, noise)
        if self.config.unfold > 1:
            z = F.pixel_shuffle(torch.einsum("oc,bchw->bohw", self.unfolding.to(z.dtype), z), self.config.unfold)
        return z

    def _whitened(self, moments: Tensor, noise: Tensor | None = None) -> Tensor:
        mean, log_variance = moments.chunk(2, dim=1)
        z = mean if noise is None else mean + (0.5 * log_variance).exp() * noise
        return (z - self._per_channel(self.latent_shift)) / self._per_channel(self.latent_scale)

    def decode(self, z: Tensor) -> Tensor:
        """Image of what `sample` returns. Shapes: [B, C, h, w] -> [B, 1, H, W], about [-1, 1], not clipped."""
        if self.config.unfold > 1:
            folded = F.pixel_unshuffle(z, self.config.unfold)
            z = torch.einsum("oc,bohw->bchw", self.unfolding.to(z.dtype), folded)  # orthogonal: back is transposed
        return self.decode_raw(z * self._per_channel(self.latent_scale) + self._per_channel(self.latent_shift))

    def reconstruct(self, image: Tensor) -> Tensor:
        """Decode the posterior mean of an image. Shapes: [B, 1, H, W] -> [B, 1, H, W]."""
        return self.decode(self.sample(self.moments(image)))

    @torch.no_grad()
    def signature(self) -> Tensor:
        """Mean latent of a fixed ramp: the same, to rounding, for codecs that share encoder and whitening. [C]."""
        side = 4 * self.downsample_factor
        ramp = torch.linspace(-1, 1, side).expand(1, 1, side, side).to(self.device, self.dtype)
        return self._whitened(self.moments(ramp)).mean(dim=(0, 2, 3)).float().cpu()

    def enable_slicing(self) -> None:
        """Run the trunk one image at a time, for memory."""
        self.autoencoder.enable_slicing()

    def enable_tiling(self) -> None:
        """Run the trunk on overlapping tiles of large images, for memory; results differ slightly."""
        self.autoencoder.enable_tiling()

    # ---- training -------------------------------------------------------------------------------------------

    def decode_raw(self, z: Tensor) -> Tensor:
        """Image of an unwhitened latent, for the codec's own training. Shapes as in `decode`."""
        if self.config.kind == "kl":
            x = self.autoencoder.decode(z).sample
        elif self.config.kind == "dc":
            x = self.autoencoder.decode(self.expand_latent(z)).sample
        else:
            x = self.autoencoder.decode(z, force_not_quantize=True).sample
        x = F.pixel_shuffle(x, self.config.patch)
        x = x + self.synthesis(z) if self.config.linear_skip else x
        return x.mean(dim=1, keepdim=True)

    def quantise(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Straight-through codes of an image and the codebook loss (VQ only). Shapes: -> [B, C, h, w], scalar."""
        encoded = self.autoencoder.encode(F.pixel_unshuffle(image, self.config.patch))
        codes, loss, _ = self.autoencoder.quantize(encoded.latents)
        return codes, loss

    def decoder_parts(self) -> list[nn.Module]:
        """The modules that turn a latent into an image."""
        names = ("expand_latent", "synthesis")
        own = [getattr(self, name, None) for name in names]
        inner = [getattr(self.autoencoder, "post_quant_conv", None), self.autoencoder.decoder]
        return [part for part in own + inner if part is not None]

    @torch.no_grad()
    def fit_whitening(self, means: Tensor) -> None:
        """Set shift and scale so that latents have zero mean and unit mean square.

        Each channel is divided by k * std^p, p being `whitening_power`: 1 makes all channels alike, less keeps the
        order of importance, so that noise drowns fine detail first. Shapes: means [N, C, h, w].
        """
        mean, scale = whitening(means, self.config.whitening_power)
        self.latent_shift.copy_(mean)
        self.latent_scale.copy_(scale)

    @torch.no_grad()
    def fit_linear_skip(self, images: Tensor) -> None:
        """Start the linear path at the principal components of image patches and the trunk at zero output.

        The way back is the least-squares one over overlapping windows, so that no edges of patches show.

        Shapes: images [N, 1, H, W] in [-1, 1].
        """
        f, channels = self.downsample_factor, self.config.latent_channels
        grey, basis = images.mean(), principal_components(images, f, channels)
        self.analysis.weight.copy_(basis.view(channels, 1, f, f))
        self.analysis.bias.copy_(-basis.sum(1) * grey)
        self.fit_synthesis(self.analysis(images), images)
        _zero_output(self.autoencoder.encoder.conv_out)
        log_variance = self.autoencoder.encoder.conv_out.get_parameter("bias")[channels:]
        log_variance.fill_(-6.0)  # a narrow posterior to begin with
        if self.config.kind == "kl":  # its 1 x 1 layer would mix that into the mean
            nn.init.dirac_(self.autoencoder.quant_conv.weight)
            nn.init.zeros_(self.autoencoder.quant_conv.bias)

    @torch.no_grad()
    def fit_synthesis(self, means: Tensor, images: Tensor) -> None:
        """Set the linear way back to the best one, and the decoder's trunk to zero output.

        Shapes: means [N, C, h, w] of images [N, 1, H, W] in [-1, 1].
        """
        grey = images.mean()
        self.synthesis.weight.copy_(lapped_synthesis(means, images - grey, self.downsample_factor))
        self.synthesis.bias.fill_(grey)
        _zero_output(self.autoencoder.decoder.conv_out)

    @torch.no_grad()
    def fit_unfolding(self, images: Tensor) -> None:
        """Set the orthogonal map of `unfold` from images, after the whitening. Shapes: [N, 1, H, W] in [-1, 1]."""
        latents = torch.cat([self._whitened(self.moments(part)) for part in images.split(8)])
        step = self.downsample_factor // self.config.unfold
        self.unfolding.copy_(unfolding(latents, images, step, self.config.whitening_power))

    def _per_channel(self, values: Tensor) -> Tensor:
        return values.to(self.dtype)[None, :, None, None]


def _zero_output(layer: nn.Module) -> None:
    conv = layer if isinstance(layer, nn.Conv2d) else layer.get_submodule("conv")
    for parameter in conv.parameters():
        nn.init.zeros_(parameter)
