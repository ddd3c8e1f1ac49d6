"""Batches of moments or pixels as whitened latents, the same for training, validation and sampling."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

from gen.models.codec import LatentCodec


def target_latents(codec: LatentCodec, batch: dict, draw: bool = True) -> Tensor:
    """Latents of the images to be drawn, sampled from their posterior or its mean. Shapes: -> [B, C, h, w]."""
    with full_precision(codec, batch):
        moments = batch["moments"].float() if "moments" in batch else codec.moments(batch["image"])
    noise = torch.randn_like(moments[:, : moments.shape[1] // 2]) if draw else None
    return codec.sample(moments, noise)


def with_link_latents(codec: LatentCodec, batch: dict) -> dict:
    """The batch with every `link_NAME` as latents. Shapes: [B, M, 2C, h, w] or [B, M, 1, H, W] -> [B, M, c, h', w']."""
    names = [name for name in batch if name.startswith("link_") and not name.endswith("_mask")]
    with full_precision(codec, batch):
        return {**batch, **{name: _latents(codec, batch[name], batch[f"{name}_mask"]) for name in names}}


def full_precision(codec: LatentCodec, batch: dict) -> AbstractContextManager:
    """No autocast about a lossless codec: half a float has fewer grey levels than a radiograph."""
    if not codec.lossless:
        return nullcontext()
    device = next(value.device for value in batch.values() if isinstance(value, Tensor))
    return torch.autocast(device.type, enabled=False)


def _latents(codec: LatentCodec, images: Tensor, mask: Tensor) -> Tensor:
    """Posterior means: a condition is given clean. What is not there stays zero."""
    flat = images.flatten(0, 1)
    moments = codec.moments(flat) if flat.shape[1] == 1 else flat.float()
    latents = codec.sample(moments).unflatten(0, images.shape[:2])
    return latents * mask[..., None, None, None].to(latents.dtype)
