"""Suppressing bones: a radiograph of any size in, its soft-tissue image and what was taken away out.

What is subtracted is the difference of two decodings, of the radiograph's latents and of the soft-tissue ones: the
codec's own error falls out, and where nothing was drawn the output is the input, bit for bit. The difference is small
and smooth but for the bones' edges, so it is found at the model's size and enlarged; detail is the input's own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from gen import seeds
from gen.data.images import model_pixels
from gen.data.resampling import resample
from gen.errors import UserError
from gen.judges.frontal import REMEDIES, frontal_problems
from gen.provenance import SynthesisRecord

if TYPE_CHECKING:
    from gen.pipeline import CXRPipeline

STRIP = 256  # rows that are computed at once, whatever the image's height
LEAST = 0.75 / 255  # of brightness: less than a grey level of 8 bits is no bone, and stays as it was
PROMPT = "soft-tissue image"
SMALLEST = 128  # pixels of the shorter side


@dataclass(frozen=True)
class SoftImage:
    """One result: `soft` and `removed` in 0..1 of brightness, soft + removed being the radiograph; what to beware of.

    Shapes: [H, W] float32 each.
    """

    soft: np.ndarray
    removed: np.ndarray
    record: SynthesisRecord
    warnings: tuple[str, ...] = ()


def suppress_bones(
    pipeline: CXRPipeline,
    images: Sequence[np.ndarray],
    steps: int | None = None,
    seed: int = 0,
    draws: int = 1,
    anyway: bool = False,
) -> list[SoftImage]:
    """Take the bones out of frontal radiographs, brightness in 0..1 of any sizes; `draws` > 1 averages several.

    Errors: UserError for a model of another task, for images too small to hold a chest and, unless `anyway`, for those
    that are inverted, lateral or no chest radiographs; with `anyway` that becomes a warning of the result.
    """
    check_bone_call(pipeline, images, draws)
    pixels = torch.from_numpy(np.stack([model_pixels(image, pipeline.config.resolution) for image in images]))[:, None]
    warnings = check_frontal(pixels, anyway)
    bones, record = bone_layers(pipeline, pixels, steps, seed, draws)
    parts = zip(images, bones.numpy(), warnings, strict=True)
    return [
        SoftImage(*split(image, bone), replace(record, seed=seed + number), warning)
        for number, (image, bone, warning) in enumerate(parts)
    ]


def check_bone_call(pipeline: CXRPipeline, images: Sequence[np.ndarray], draws: int = 1) -> None:
    """Raise UserError where bones cannot be suppressed."""
    if pipeline.config.task != "bone":
        raise UserError(f"{pipeline.config.name}: a model of task {pipeline.config.task!r}; give a bone model")
    if draws < 1:
        raise UserError(f"draws={draws}: at least 1")
    for number, image in enumerate(images):
        if min(image.shape) < SMALLEST:
            height, width = image.shape
            raise UserError(f"image {number}: {width} x {height} pixels; the shorter side needs at least {SMALLEST}")


def check_frontal(pixels: Tensor, anyway: bool = False) -> list[tuple[str, ...]]:
    """Warnings of each image; UserError for the first that is no frontal radiograph, unless `anyway`."""
    warnings = [(REMEDIES[problem],) if problem else () for problem in frontal_problems(pixels)]
    for number, found in enumerate(warnings):
        if found and not anyway:
            raise UserError(f"image {number}: {found[0]}")
    return warnings


@torch.no_grad()
def bone_layers(
    pipeline: CXRPipeline, pixels: Tensor, steps: int | None, seed: int, draws: int = 1
) -> tuple[Tensor, SynthesisRecord]:
    """What the bones add to radiographs at the model's size, and the record of how it was found.

    Shapes: [B, 1, R, R] in -1..1 -> [B, R, R] of brightness, on the CPU.
    """
    codec = pipeline.vae
    images = codec.sample(codec.moments(pixels.to(codec.device, codec.dtype)))
    batch = latents_batch(images)
    total, record = torch.zeros_like(images), None
    for draw in range(draws):
        own = [seeds.mix(seed + number, "bone", draw) for number in range(len(images))]
        output = pipeline.draw(batch, own, steps, 1.0, "latent", progress=False)
        total, record = total + pipeline.task.finished(output.images, batch), output.records[0]
    assert record is not None
    return difference(codec, images, total / draws), record


def latents_batch(images: Tensor) -> dict:
    """The batch that the bone task reads, from radiographs' latents. Shapes: [B, C, h, w]."""
    mask = torch.ones(len(images), 1, dtype=torch.bool, device=images.device)
    return {"prompt": [PROMPT] * len(images), "link_image": images[:, None], "link_image_mask": mask}


def difference(codec: torch.nn.Module, images: Tensor, softs: Tensor) -> Tensor:
    """Brightness by which decoded radiographs exceed decoded soft-tissue images. Shapes: [B, C, h, w] -> [B, R, R]."""
    both = codec.decode(torch.cat([images, softs]).to(codec.dtype)).float().cpu()[:, 0]
    image, soft = both.chunk(2)
    return (image - soft) / 2


def split(image: np.ndarray, bone: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The radiograph less the bone layer, and what was taken, in strips. Shapes: [H, W], [R, R] -> two of [H, W]."""
    soft, removed = np.empty_like(image, np.float32), np.empty_like(image, np.float32)
    for rows, part in enlarged(bone, image.shape):
        soft[rows] = np.clip(image[rows] - part, 0, 1)
        removed[rows] = image[rows] - soft[rows]
    return soft, removed


def enlarged(bone: np.ndarray, shape: tuple[int, int]) -> Iterator[tuple[slice, np.ndarray]]:
    """A square bone layer without its padding, at an image's size, faint parts set to nothing; a strip at a time."""
    inside = unpadded(bone, shape)
    down = resample(np.eye(inside.shape[0], dtype=np.float32), (shape[0], inside.shape[0]))
    across = resample(np.eye(inside.shape[1], dtype=np.float32), (shape[1], inside.shape[1]))
    wide = inside @ across.T
    for top in range(0, shape[0], STRIP):
        rows = slice(top, min(top + STRIP, shape[0]))
        yield rows, shrunk(down[rows] @ wide)


def unpadded(square: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """The part of a padded square that holds an image of this shape. Shapes: [R, R] -> [h, w]."""
    side = square.shape[0]
    height, width = (max(1, round(length * side / max(shape))) for length in shape)  # as gen.data.images.shrink has it
    top, left = (side - height) // 2, (side - width) // 2
    return square[top : top + height, left : left + width]


def shrunk(bone: np.ndarray) -> np.ndarray:
    """What is fainter than `LEAST` set to nothing, the rest brought nearer by as much: no step between them."""
    return np.sign(bone) * np.maximum(np.abs(bone) - LEAST, 0)
