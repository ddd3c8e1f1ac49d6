"""Codecs and weights from folders, with errors that say what is wrong with the folder."""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from safetensors import SafetensorError

from gen.errors import UserError
from gen.models.codec import LatentCodec
from gen.models.text import load_text_encoder

HUB_FILES = ["*.json", "*.safetensors", "*.txt", "*.model", "*.md"]


def load_codec(folder: str | Path, dtype: torch.dtype = torch.float32) -> LatentCodec:
    """A codec from a folder saved by train/vae.py, a pipeline's `codec/`, or a diffusers AutoencoderKL `vae/`."""
    folder = Path(folder)
    if not (folder / "config.json").is_file():
        raise UserError(f"{folder}: no codec here (config.json is missing); train one with train/vae.py")
    try:
        if '"AutoencoderKL"' in (folder / "config.json").read_text():
            return LatentCodec.from_autoencoder(AutoencoderKL.from_pretrained(folder, use_safetensors=True)).to(dtype)
        return LatentCodec.from_pretrained(folder, torch_dtype=dtype, use_safetensors=True)
    except (OSError, SafetensorError, ValueError, RuntimeError) as error:
        raise UserError(f"{folder}: not a usable codec ({str(error).splitlines()[0]})") from None


def load_stable_diffusion(folder: Path, dtype: torch.dtype) -> dict:
    """Arguments of a pipeline from a Stable-Diffusion-format folder, such as RoentGen's."""
    codec = load_codec(folder / "vae", dtype)
    unet = UNet2DConditionModel.from_pretrained(folder / "unet", torch_dtype=dtype, use_safetensors=True)
    if unet.config.in_channels != codec.config.latent_channels:
        raise UserError(f"{folder}: its UNet takes {unet.config.in_channels} channels; only text-to-image models load")
    text = load_text_encoder(folder, subfolder="text_encoder").to(dtype)
    return {
        "vae": codec,
        "text_encoder": text.model,
        "tokenizer": text.tokenizer,
        "unet": unet,
        "scheduler": DDIMScheduler.from_pretrained(folder / "scheduler", clip_sample=False),
        "resolution": unet.config.sample_size * codec.downsample_factor,
        "max_tokens": text.max_tokens,
        "steps": 50,
        "guidance": 4.0,
        "name": folder.name,
        "mask_padding": False,  # they were trained to attend to the padding too
    }


def download(model: str, revision: str | None) -> Path:
    """A model folder from the hub, without files that can run code."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(model, revision=revision, allow_patterns=HUB_FILES))
    except (HFValidationError, HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{model}: no such folder, and not to be had from the hub ({reason})") from None


def weights_hash(folder: str | Path) -> str:
    """Twelve hexadecimal digits over the weight files below a folder, in name order."""
    digest = hashlib.sha256()
    for path in sorted(Path(folder).rglob("*.safetensors")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]
