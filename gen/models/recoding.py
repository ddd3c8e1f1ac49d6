"""A trained codec made anew with its latents kept: shown in another way, or brought back by another decoder."""

from __future__ import annotations

import torch
from torch import Tensor

from gen.errors import UserError
from gen.models.codec import LatentCodec


def unfolded(codec: LatentCodec, unfold: int, images: Tensor) -> LatentCodec:
    """The same codec with its latents shown in another way, fitted to images. Shapes: [N, 1, H, W] in [-1, 1]."""
    new = _with(codec, {"unfold": unfold}, without="unfolding")
    if unfold > 1:
        new.fit_unfolding(images.to(codec.device))
    return new


def redecoded(
    codec: LatentCodec, channels: tuple[int, ...], layers: tuple[int, ...], patch: int, images: Tensor
) -> LatentCodec:
    """The same encoder and latents with a new light decoder, which starts as the best linear one for these images.

    Shapes: images [N, 1, H, W] in [-1, 1].
    """
    light = {"decoder_channels": channels, "decoder_layers": layers, "decoder_patch": patch}
    new, images = _with(codec, light, without="autoencoder.decoder."), images.to(codec.device)
    with torch.no_grad():
        means = torch.cat([new.moments(part).chunk(2, dim=1)[0] for part in images.split(8)])
        new.fit_synthesis(means, images)
    return new


def check_same_latents(codec: LatentCodec, other: LatentCodec, name: str) -> None:
    """Raise UserError, which begins with `name`, where two codecs encode or show images in different ways."""
    apart = (codec.signature() - other.signature()).abs().max()
    if apart > 1e-3:
        raise UserError(f"{name}: its latents differ from the model's by {apart:.3g}; only the decoder may differ")
    views = [getattr(model, "unfolding", torch.eye(1)) for model in (codec, other)]
    if views[0].shape != views[1].shape or (views[0] - views[1]).abs().max() > 1e-2:
        raise UserError(f"{name}: it unfolds its latents in another way than the model's; only the decoder may differ")


def _with(codec: LatentCodec, changes: dict, without: str) -> LatentCodec:
    """A codec of changed settings with the old one's weights, but for those whose names begin in that way."""
    fields = {name: value for name, value in codec.config.items() if not name.startswith("_")}
    new = LatentCodec(**fields | changes).to(codec.device)
    kept = {name: value for name, value in codec.state_dict().items() if not name.startswith(without)}
    new.load_state_dict(new.state_dict() | kept)
    return new
