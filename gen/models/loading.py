"""Codecs and weights from folders, with errors that say what is wrong with the folder."""

from __future__ import annotations

import hashlib
from pathlib import Path

from diffusers import AutoencoderKL
from safetensors import SafetensorError

from gen.errors import UserError
from gen.models.codec import LatentCodec


def load_codec(folder: str | Path) -> LatentCodec:
    """A codec from a folder saved by train/vae.py, a pipeline's `codec/`, or a diffusers AutoencoderKL `vae/`."""
    folder = Path(folder)
    if not (folder / "config.json").is_file():
        raise UserError(f"{folder}: no codec here (config.json is missing); train one with train/vae.py")
    try:
        if '"AutoencoderKL"' in (folder / "config.json").read_text():
            return LatentCodec.from_autoencoder(AutoencoderKL.from_pretrained(folder, use_safetensors=True))
        return LatentCodec.from_pretrained(folder, use_safetensors=True)
    except (OSError, SafetensorError, ValueError, RuntimeError) as error:
        raise UserError(f"{folder}: not a usable codec ({str(error).splitlines()[0]})") from None


def weights_hash(folder: str | Path) -> str:
    """Twelve hexadecimal digits over the weight files below a folder, in name order."""
    digest = hashlib.sha256()
    for path in sorted(Path(folder).rglob("*.safetensors")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]
