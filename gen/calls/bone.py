"""Suppressing bones: a radiograph of any size in, its soft-tissue image and what was taken away out.

What is subtracted is the difference of two decodings, of the radiograph's latents and of the soft-tissue ones: the
codec's own error falls out, and where nothing was drawn the output is the input, bit for bit. The difference is found
at the model's size and enlarged; detail is the input's own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from torch import Tensor

from gen import seeds
from gen.calls.bone_looks import LOOKS, averaged
from gen.calls.painting import Picture, Pipe
from gen.calls.tiles import tiled
from gen.data.images import as_brightness, model_pixels
from gen.data.resampling import resample
from gen.errors import UserError
from gen.judges.frontal import REMEDIES, frontal_problems
from gen.models.bone import Regressor
from gen.models.codec import LatentCodec
from gen.provenance import SynthesisRecord

STRIP = 256  # rows that are computed at once, whatever the image's height
LEAST = 0.75 / 255  # of brightness: less than a grey level of 8 bits is no bone, and stays as it was
PROMPT = "soft-tissue image"
NOTICE = "SYNTHETIC in part: bones removed from a radiograph by a generative model; not for diagnosis"
SMALLEST = 128  # pixels of the shorter side
Layers = Callable[[Tensor], Tensor]  # radiographs [B, 1, R, R] in -1..1 -> brightness that bones add [B, R, R]


@dataclass(frozen=True)
class SoftImage:
    """One result: soft + removed is the radiograph, in brightness of 0..1; and what to beware of.

    Shapes: [H, W] float32 each.
    """

    soft: np.ndarray
    removed: np.ndarray
    record: SynthesisRecord
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class BoneModel:
    """What finds bone layers at its resolution, and the record that its results carry.

    `multiple` is what the sides of its input must divide by.
    """

    layers: Layers
    resolution: int
    record: SynthesisRecord
    multiple: int = 1

    def suppress(self, image: np.ndarray, anyway: bool = False, scale: int = 1, looks: int = 1) -> SoftImage:
        """Take the bones out of one frontal radiograph, brightness in 0..1 of any size.

        `looks` > 1 takes the mean of what so many looks find (gen.calls.bone_looks); `scale` > 1 looks at the image so
        many times as large as the model's, through overlapping tiles, once each.
        Errors: UserError for an image too small to hold a chest and, unless `anyway`, for one that is inverted, lateral
        or no chest radiograph; with `anyway` that becomes a warning of the result.
        """
        check_size(image)
        pixels = torch.from_numpy(model_pixels(image, self.resolution))[None, None]
        warnings = check_frontal(pixels, anyway)
        if scale == 1:
            bone = averaged(self.layers, image, self.resolution, self.multiple, looks)
            given = f"the mean of {looks} looks"
        else:
            larger = torch.from_numpy(model_pixels(image, scale * self.resolution))[None, None]
            bone = tiled(self.layers, larger, self.resolution)[0]
            given = f"tiles of the image at {scale} times the model's size"
        return SoftImage(*split(image, bone.numpy()), replace(self.record, given=given), warnings)


def diffusion_bones(pipeline: Pipe, steps: int | None = None, seed: int = 0, draws: int = 1) -> BoneModel:
    """A trained pipeline as bone model; `draws` > 1 takes the mean of several drawings.

    Errors: UserError for a model of another task.
    """
    if pipeline.config.task != "bone":
        raise UserError(f"{pipeline.config.name}: a model of task {pipeline.config.task!r}; give a bone model")
    if draws < 1:
        raise UserError(f"draws={draws}: at least 1")
    steps = pipeline.config.steps if steps is None else steps
    record = SynthesisRecord(
        PROMPT, seed, steps, 1.0, type(pipeline.scheduler).__name__, pipeline.config.name, pipeline.model_hash,
        task="bone", notice=NOTICE,
    )  # fmt: skip
    levels = len(getattr(pipeline.unet.config, "block_out_channels", (0,)))  # a transformer has one
    side = pipeline.config.resolution // pipeline.vae.latent_shape(pipeline.config.resolution)[1]
    layers = partial(bone_layers, pipeline, steps=steps, seed=seed, draws=draws)
    return BoneModel(layers, pipeline.config.resolution, record, side * 2 ** (levels - 1))


def regressed_bones(network: Regressor, name: str, model_hash: str) -> BoneModel:
    """A baseline as bone model."""

    @torch.no_grad()
    def layers(pixels: Tensor) -> Tensor:
        return network.bone(pixels.to(network.device, network.dtype)).float().cpu()[:, 0] / 2

    record = SynthesisRecord(PROMPT, 0, 1, 1.0, "", name, model_hash, task="bone", notice=NOTICE)
    return BoneModel(layers, network.config.resolution, record, network.multiple)


def check_size(image: np.ndarray) -> None:
    """Raise UserError for an image too small to hold a chest."""
    if min(image.shape) < SMALLEST:
        height, width = image.shape
        raise UserError(f"{width} x {height} pixels; the shorter side needs at least {SMALLEST}")


def check_frontal(pixels: Tensor, anyway: bool = False) -> tuple[str, ...]:
    """What to beware of in one image; UserError instead, unless `anyway`. Shapes: [1, 1, R, R] in -1..1."""
    problem = frontal_problems(pixels)[0]
    if problem and not anyway:
        raise UserError(f"the image {REMEDIES[problem]}")
    return (REMEDIES[problem],) if problem else ()


@torch.no_grad()
def bone_layers(pipeline: Pipe, pixels: Tensor, steps: int, seed: int, draws: int = 1) -> Tensor:
    """What the bones add to radiographs at the model's size; every image by the same noise, whatever its place.

    Shapes: [B, 1, R, R] in -1..1 -> [B, R, R] of brightness, on the CPU.
    """
    codec = pipeline.vae
    images = codec.sample(codec.moments(pixels.to(codec.device, codec.dtype)))
    batch, total = latents_batch(images), torch.zeros_like(images)
    for draw in range(draws):
        own = [seeds.mix(seed, "bone", draw)] * len(images)
        total += pipeline.draw(batch, own, steps, 1.0, "latent", progress=False).images
    return difference(codec, images, total / draws)


def latents_batch(images: Tensor) -> dict:
    """The batch that the bone task reads, from radiographs' latents, drawn in their shape. Shapes: [B, C, h, w]."""
    mask = torch.ones(len(images), 1, dtype=torch.bool, device=images.device)
    batch = {"prompt": [PROMPT] * len(images), "link_image": images[:, None], "link_image_mask": mask}
    return batch | {"latent_shape": tuple(images.shape[1:])}


def difference(codec: LatentCodec, images: Tensor, softs: Tensor) -> Tensor:
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


def enlarged(bone: np.ndarray, shape: Sequence[int]) -> Iterator[tuple[slice, np.ndarray]]:
    """A square bone layer without its padding at an image's size, faint parts set to nothing, in strips of rows."""
    height, width = shape
    inside = unpadded(bone, height, width)
    down = resample(np.eye(inside.shape[0], dtype=np.float32), (height, inside.shape[0]))
    across = resample(np.eye(inside.shape[1], dtype=np.float32), (width, inside.shape[1]))
    wide = inside @ across.T
    for top in range(0, height, STRIP):
        rows = slice(top, min(top + STRIP, height))
        yield rows, shrunk(down[rows] @ wide)


def unpadded(square: np.ndarray, height: int, width: int) -> np.ndarray:
    """The part of a padded square that holds an image of this size. Shapes: [R, R] -> [h, w]."""
    side, longer = square.shape[0], max(height, width)
    h, w = (max(1, round(length * side / longer)) for length in (height, width))  # as gen.data.images.shrink rounds
    top, left = (side - h) // 2, (side - w) // 2
    return square[top : top + h, left : left + w]


def shrunk(bone: np.ndarray) -> np.ndarray:
    """What is fainter than `LEAST` set to nothing, the rest made fainter by as much: no step between them."""
    return np.sign(bone) * np.maximum(np.abs(bone) - LEAST, 0)


class BoneCalls:
    """The call of a bone model, as a method of the pipeline."""

    def suppress_bones(
        self: Pipe,
        image: Picture,
        steps: int | None = None,
        seed: int = 0,
        draws: int = 1,
        anyway: bool = False,
        looks: int = len(LOOKS),
    ) -> SoftImage:
        """The soft-tissue image of a frontal radiograph and what was removed; see BoneModel.suppress.

        A look takes `steps` network calls for each of its `draws`.
        """
        return diffusion_bones(self, steps, seed, draws).suppress(as_brightness(image), anyway, looks=looks)
