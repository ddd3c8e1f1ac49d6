"""Train a codec: accelerate launch train/vae.py configs/vae_256.yaml [key=value ...]"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from torch import Tensor, nn

from gen.config import load_job
from gen.data.augment import random_crops
from gen.data.dataset import CXRDataset, make_dataset
from gen.engine.figures import reconstruction_figures
from gen.engine.learner import DatasetLearner
from gen.engine.loop import Loop
from gen.errors import exit_on_user_error
from gen.models.codec import LatentCodec
from gen.models.loading import load_codec
from gen.models.recoding import redecoded, unfolded
from gen.objectives.reconstruction import ReconstructionLoss
from gen.schema import CodecJob

WHITENING_IMAGES = 512
PRINCIPAL_COMPONENT_IMAGES = 256


class CodecLearner(DatasetLearner):
    """Encoder and decoder, or the decoder alone, under the reconstruction loss."""

    def __init__(self, job: CodecJob) -> None:
        super().__init__()
        self.job = job
        self.dataset = make_dataset(job.data, "train", job.train.seed, job.run)
        self.held_out = make_dataset(job.data, "val", job.train.seed, job.run)
        self.trained = nn.ModuleDict({"codec": self._codec(), "loss": ReconstructionLoss(job.loss)})

    def _codec(self) -> LatentCodec:
        if self.job.initialise_from is not None:
            codec = self._as_asked(load_codec(self.job.initialise_from))
        else:
            codec = LatentCodec(**self.job.codec.model_dump())
            if self.job.codec.linear_skip:
                codec.fit_linear_skip(self._images(self.dataset, PRINCIPAL_COMPONENT_IMAGES))
        if self.job.decoder_only:
            codec.requires_grad_(False)
            for part in codec.decoder_parts():
                part.requires_grad_(True)
        return codec

    def _as_asked(self, codec: LatentCodec) -> LatentCodec:
        """A trained codec with its latents shown as this job's are, and with this job's decoder."""
        asked = self.job.codec
        if codec.config.unfold != asked.unfold:
            codec = unfolded(codec, asked.unfold, self._images(self.dataset, WHITENING_IMAGES))
        light = asked.decoder_channels, asked.decoder_layers
        if light != tuple(_tuple(codec.config.get(name)) for name in ("decoder_channels", "decoder_layers")):
            images = self._images(self.dataset, PRINCIPAL_COMPONENT_IMAGES)
            codec = redecoded(codec, *light, asked.decoder_patch, images)
        return codec

    @staticmethod
    def _images(dataset: CXRDataset, count: int) -> Tensor:
        rows = range(0, len(dataset), max(1, len(dataset) // count))
        return torch.stack([dataset.image(row) for row in rows])

    def forward(self, batch: dict) -> dict[str, Tensor]:
        """Weighted loss terms on random crops with random contrast. Shapes: batch["image"] [B, 1, H, W]."""
        codec, loss = self.trained["codec"], self.trained["loss"]
        image = random_contrast(random_crops(batch["image"], self.job.crop))
        if self.job.codec.kind == "vq":
            codes, codebook = codec.quantise(image)
            return loss(codec.decode_raw(codes), image, None, codebook)
        with torch.set_grad_enabled(not self.job.decoder_only and torch.is_grad_enabled()):
            moments = codec.moments(image)
        mean, log_variance = moments.chunk(2, dim=1)
        sample = mean + (0.5 * log_variance).exp() * torch.randn_like(mean)
        output = codec.decode_raw(sample + latent_noise(sample, self.job.latent_noise, codec.latent_scale))
        return loss(output, image, moments, None)

    @torch.no_grad()
    def validate(self, trained: nn.ModuleDict, folder: Path) -> dict[str, float]:
        """PSNR and SSIM of whole validation images; a picture of originals above reconstructions."""
        return reconstruction_figures(trained["codec"], self.held_out, folder / "pairs.png")

    @torch.no_grad()
    def export(self, trained: nn.ModuleDict, folder: Path) -> None:
        """The codec with its latents whitened on training images; a fixed encoder keeps its whitening."""
        codec = trained["codec"]
        if not self.job.decoder_only:
            images = self._images(self.dataset, WHITENING_IMAGES).to(codec.device)
            moments = torch.cat([codec.moments(part) for part in images.split(8)])
            codec.fit_whitening(moments.chunk(2, dim=1)[0])
            if codec.config.unfold > 1:
                codec.fit_unfolding(images)
        codec.save_pretrained(folder)


def _tuple(values: list | tuple | None) -> tuple | None:
    return None if values is None else tuple(values)


def random_contrast(images: Tensor) -> Tensor:
    """Scale and shift brightness a little, each image by its own draw. Shapes: [B, 1, H, W] -> the same."""
    scale, shift = torch.rand(2, len(images), 1, 1, 1).to(images)
    return ((0.85 + 0.3 * scale) * images + 0.2 * (shift - 0.5)).clamp(-1, 1)


def latent_noise(sample: Tensor, largest: float, scale: Tensor) -> Tensor:
    """Noise that makes a decoder forgive a denoiser's small errors; none for half the images, by chance.

    Shapes: sample [B, C, h, w], scale [C] the whitening scale -> [B, C, h, w].
    """
    chosen, level = torch.rand(2, len(sample), 1, 1, 1).to(sample)
    return (chosen < 0.5) * largest * level * scale[None, :, None, None] * torch.randn_like(sample)


def main(arguments: list[str]) -> None:
    """Train what a config describes, or go on with it."""
    job = load_job(CodecJob, "vae.py", arguments)
    torch.manual_seed(job.train.seed)
    Loop(CodecLearner(job), job, job.train, job.run).train()


if __name__ == "__main__":
    with exit_on_user_error():
        main(sys.argv[1:])
