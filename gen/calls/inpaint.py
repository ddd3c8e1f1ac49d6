"""`pipe.inpaint(...)`: edit inside a mask, with a text model or with one that was trained to fill holes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from gen import seeds
from gen.calls.painting import Picture, Pipe
from gen.data.images import from_model, model_pixels
from gen.errors import UserError


def draw_inside(
    pipe: Pipe,
    image: Picture,
    edit_mask: Picture,
    prompt: str,
    keep_mask: Picture | None,
    seed: int,
    draw: Callable,
) -> Any:
    """Draw the edited region anew and keep the rest, by the two masks of RadEdit (arXiv 2312.12865).

    What `keep_mask` marks has the image's own latents, noised as far as the step is, after every step, and its own
    pixels at the end. What neither mask marks may follow the edit: a model trained for holes sees it, and nothing holds
    it. `draw` is the pipeline's, with all but the batch, the seed and the callback given.
    Errors: UserError for masks that are empty or that overlap, and models of other tasks.
    """
    if pipe.config.task not in ("text", "inpaint"):
        raise UserError(f"{pipe.config.name} is of task {pipe.config.task}; load a model of task inpaint or text")
    pixels = model_pixels(image, pipe.config.resolution)
    edit = mask_pixels(edit_mask, pipe.config.resolution, "edit mask")
    keep = ~edit if keep_mask is None else mask_pixels(keep_mask, pipe.config.resolution, "keep mask")
    if (edit & keep).any():
        raise UserError(f"keep mask: {int((edit & keep).sum())} pixels are in the edit mask too; take them out of one")
    z0 = pipe.encode([pixels / 2 + 0.5])
    batch = {"prompt": [prompt], "link_image": z0[:, None], "edit_mask": covered(edit, z0)}
    blend = _blending(z0, ~covered(~keep, z0), seed)
    out = draw(batch, seed=[seed], callback_on_step_end=blend, output_type="np")
    shown = np.where(keep, pixels, 2 * out.images[0] - 1)
    given = f"inside a mask of {edit.mean():.1%} of the image"
    return type(out)(
        images=[Image.fromarray(from_model(shown))], records=[replace(record, given=given) for record in out.records]
    )


def mask_pixels(mask: Picture, size: int, name: str) -> np.ndarray:
    """Where a mask is brighter than half, padded to a square as its image is. Shapes: -> [size, size] bool."""
    marked = model_pixels(mask, size) > 0
    if not marked.any():
        raise UserError(f"{name}: nothing is marked; what is to count must be white")
    return marked


def covered(mask: np.ndarray, latents: Tensor) -> Tensor:
    """Latent positions of which a mask has any pixel. Shapes: [H, W] -> [1, 1, h, w] bool."""
    pixels = torch.from_numpy(mask).float()[None, None]
    return (F.adaptive_max_pool2d(pixels, latents.shape[-2:]) > 0).to(latents.device)


def _blending(z0: Tensor, keep: Tensor, seed: int) -> Callable:
    """A callback that puts the image's own latents where they are kept, at the noise of the step to come."""
    noise = seeds.image_noise([seed], z0.shape[1:]).to(z0)

    def blend(pipe: Pipe, number: int, t: Tensor, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        times = pipe.scheduler.timesteps
        last = number + 1 >= len(times)
        own = z0 if last else pipe.scheduler.add_noise(z0, noise, times[number + 1 : number + 2])
        return {"latents": torch.where(keep, own.to(tensors["latents"]), tensors["latents"])}

    return blend
