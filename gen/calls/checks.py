"""Checks that every call shares."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral

from gen.errors import UserError
from gen.tasks.text import TextTask


def repeated(prompts: list[str], times: int) -> list[str]:
    """Each prompt so many times."""
    return [prompt for prompt in prompts for _ in range(times)]


def seeds_of(seed: int | Sequence[int], count: int) -> list[int]:
    """One seed an image; a single one counts on. Errors: UserError for another number of seeds than images."""
    if isinstance(seed, Integral):
        return [seed + number for number in range(count)]
    if len(seed) != count:
        raise UserError(f"seed: {len(seed)} seeds for {count} images; give one an image, or a single first seed")
    return list(seed)


def check_fit(task: TextTask, channels: tuple[int, int], side: int) -> None:
    """Raise UserError for a denoiser that takes other maps than its task gives, or a first answer of another size.

    `channels` are those that the denoiser takes and gives, `side` is that of its latents.
    """
    taken, given = channels
    expected = given + task.spatial_channels(given)
    if taken != expected:
        raise UserError(f"the denoiser takes {taken} channels, its task gives {expected}; fetch it again")
    if (first := getattr(task.conditioner, "first_view", None)) is not None:
        first.check_side(side, "first")


def check_drawing(prompts: list[str], steps: int, guidance: float, output_type: str) -> None:
    """Raise UserError for numbers with which nothing can be drawn."""
    if not prompts:
        raise UserError("prompt: nothing to draw; give at least one prompt")
    if steps < 1:
        raise UserError(f"steps={steps}: at least 1")
    if guidance < 0:
        raise UserError(f"guidance={guidance}: at least 0; 1 switches guidance off")
    if output_type not in ("pil", "np", "latent"):
        raise UserError(f"output_type={output_type!r}: one of pil, np, latent")
