"""Small, anatomically harmless changes to a radiograph. Never a left-right flip: the heart's side is a finding."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2.functional import affine

VERSION = 2  # of `augment`; moments made by another are encoded anew
MAX_ROTATION = 4.0  # degrees
MAX_SHIFT = 0.03  # share of the side
MAX_SCALE = 0.05
MAX_LOG_GAMMA = 0.15
BLACK = -0.98  # up to here a frame is black, in -1..1
MAX_DETAIL = 0.3  # share by which the finest detail is strengthened or weakened (batches only)


def augment(image: Tensor, generator: torch.Generator, content: tuple[slice, slice] | None = None) -> Tensor:
    """Rotate, shift, scale and change the contrast curve of what lies within the black frame, a little.

    The frame stays where it is and what moves in from the edge is mirrored there, so that no slanted black edge tells
    of the change: a model trained on those draws them. `content` is the `content_box` of the other image of a pair.
    Shapes: [1, H, W] in [-1, 1] -> the same.
    """
    angle, dx, dy, zoom, gamma = (2 * torch.rand(5, generator=generator) - 1).tolist()
    rows, columns = content_box(image) if content is None else content
    inner = (image[:, rows, columns] + 1) / 2
    height, width = inner.shape[-2:]
    if min(height, width) < 2:
        return image
    side = image.shape[-1]
    margin = [min(side // 8, width - 1), min(side // 8, height - 1)]
    moved = affine(
        F.pad(inner, [margin[0], margin[0], margin[1], margin[1]], mode="reflect"),
        angle=MAX_ROTATION * angle,
        translate=[MAX_SHIFT * side * dx, MAX_SHIFT * side * dy],
        scale=1 + MAX_SCALE * zoom,
        shear=[0.0, 0.0],
        interpolation=InterpolationMode.BILINEAR,
    )[:, margin[1] : margin[1] + height, margin[0] : margin[0] + width]
    output = image.clone()
    output[:, rows, columns] = 2 * moved.clamp(0, 1) ** (2.718281828 ** (MAX_LOG_GAMMA * gamma)) - 1
    return output


def content_box(image: Tensor) -> tuple[slice, slice]:
    """Rows and columns within the black frame that padding or a collimator left. Shapes: [1, H, W] in [-1, 1]."""
    bright = image[0] > BLACK
    return _extent(bright.any(1)), _extent(bright.any(0))


def _extent(used: Tensor) -> slice:
    places = used.nonzero()
    return slice(int(places[0]), int(places[-1]) + 1) if len(places) else slice(0, 0)


def augment_batch(
    images: Tensor, strength: float = 1.0, masks: Tensor | None = None, generator: torch.Generator | None = None
) -> tuple[Tensor, Tensor | None]:
    """The same changes to a whole batch on its device, `strength` times as far; masks move with their images.

    Without a generator the global one is used, which the training loop seeds a step. New edges are black.
    Shapes: images [B, 1, H, W] in [-1, 1], masks [B, S, H, W] in 0..1 -> the same.
    """
    if strength == 0:
        return images, masks
    draws = 2 * torch.rand(6, len(images), generator=generator) - 1
    angle, dx, dy, zoom, gamma, detail = (strength * draws).to(images.device)
    grid = F.affine_grid(_placements(angle, dx, dy, zoom), [len(images), 1, *images.shape[-2:]], align_corners=False)
    brightness = _sampled((images + 1) / 2, grid).clamp(0, 1)
    brightness = brightness ** torch.exp(MAX_LOG_GAMMA * gamma)[:, None, None, None]
    smooth = F.avg_pool2d(brightness, 3, 1, 1, count_include_pad=False)
    sharpened = smooth + (1 + MAX_DETAIL * detail)[:, None, None, None] * (brightness - smooth)
    moved = None if masks is None else _sampled(masks, grid)
    return 2 * sharpened.clamp(0, 1) - 1, moved


def move_latents(latents: Tensor, strength: float = 1.0, generator: torch.Generator | None = None) -> Tensor:
    """Rotate, shift and scale latents as `augment_batch` does images; what moves in repeats the edge.

    Shapes: [B, C, h, w] -> the same.
    """
    if strength == 0:
        return latents
    changes = strength * (2 * torch.rand(4, len(latents), generator=generator) - 1).to(latents.device)
    grid = F.affine_grid(_placements(*changes), list(latents.shape), align_corners=False).to(latents.dtype)
    return F.grid_sample(latents, grid, mode="bilinear", padding_mode="border", align_corners=False)


def random_crops(images: Tensor, side: int) -> Tensor:
    """One square crop an image. Shapes: [B, C, S, S] -> [B, C, side, side]."""
    limit = images.shape[-1] - side + 1
    corners = torch.randint(limit, (len(images), 2)).tolist()
    return torch.stack([x[:, r : r + side, c : c + side] for x, (r, c) in zip(images, corners, strict=True)])


def _sampled(images: Tensor, grid: Tensor) -> Tensor:
    return F.grid_sample(images, grid.to(images.dtype), mode="bilinear", padding_mode="zeros", align_corners=False)


def _placements(angle: Tensor, dx: Tensor, dy: Tensor, zoom: Tensor) -> Tensor:
    """Where each output pixel comes from, in half sides from the centre. Shapes: [B] each -> [B, 2, 3]."""
    turn, scale = torch.deg2rad(MAX_ROTATION * angle), torch.exp(-MAX_SCALE * zoom)
    cos, sin = scale * torch.cos(turn), scale * torch.sin(turn)
    rows = [torch.stack([cos, -sin, 2 * MAX_SHIFT * dx], 1), torch.stack([sin, cos, 2 * MAX_SHIFT * dy], 1)]
    return torch.stack(rows, 1)
