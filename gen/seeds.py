"""Random generators that depend on what is drawn, never on what was drawn before."""

from __future__ import annotations

import hashlib
import random
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # plans of a million rows need `mix` alone, and torch takes seconds to import
    import torch

SEED_LIMIT = 2**63


def mix(*parts: int | str) -> int:
    """A 63-bit seed from any sequence of numbers and names, the same on every machine."""
    digest = hashlib.blake2b("/".join(str(part) for part in parts).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") % SEED_LIMIT


def generator(*parts: int | str, device: torch.device | str = "cpu") -> torch.Generator:
    """A torch generator seeded by `mix(*parts)`."""
    import torch

    return torch.Generator(device).manual_seed(mix(*parts))


def seed_step(seed: int, rank: int, step: int) -> None:
    """Seed the global generators for one training step, so that a resumed run draws the same noise."""
    import torch

    value = mix(seed, rank, step)
    random.seed(value)
    torch.manual_seed(value)


def image_noise(seeds: list[int], shape: tuple[int, ...], name: str = "latent") -> torch.Tensor:
    """Unit normal noise where each image has its own stream: a batch of 8 equals 8 batches of 1.

    Drawn on the CPU, so that every device starts from the same noise. Shapes: -> [len(seeds), *shape].
    """
    import torch

    return torch.stack([torch.randn(shape, generator=generator("image", seed, name)) for seed in seeds])
