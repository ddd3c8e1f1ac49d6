"""What happens to a copy on its way: another size, a small move and turn, another grey scale, noise, JPEG."""

from __future__ import annotations

import io
from functools import reduce

import numpy as np
from PIL import Image
from scipy.ndimage import affine_transform

SMALLEST = 0.45  # of the side, before it is enlarged again
TURN, ZOOM, MOVE = 2.0, 0.03, 0.03  # at most: degrees, share of the size, share of the side
GAMMA, CONTRAST = (0.7, 1.4), (0.8, 1.0)
NOISE = 5.0  # grey levels of 255, standard deviation at most
QUALITY = (40, 95)  # of JPEG


def altered(images: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Every image as a copy of it may look, each altered in its own way. Shapes: [N, S, S] uint8 -> the same."""
    ways = (_resaved, _moved, _toned, _compressed)
    return np.stack([reduce(lambda shown, way: way(shown, generator), ways, image) for image in images])


def turned(image: np.ndarray, degrees: float, scale: float, move: tuple[float, float] = (0.0, 0.0)) -> np.ndarray:
    """An image turned and zoomed about its middle, its edges drawn out. Shapes: [S, S] -> [S, S]; move in px."""
    angle = np.deg2rad(degrees)
    matrix = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    middle = np.full(2, (image.shape[-1] - 1) / 2)
    offset = middle - matrix @ middle + np.asarray(move)
    return affine_transform(image.astype(np.float32), matrix, offset, order=1, mode="nearest")


def _resaved(image: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    side = image.shape[-1]
    small = Image.fromarray(image).resize((round(side * generator.uniform(SMALLEST, 1)),) * 2, Image.Resampling.BOX)
    return np.asarray(small.resize((side, side), Image.Resampling.BICUBIC))


def _moved(image: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    move = generator.uniform(-MOVE, MOVE, 2) * image.shape[-1]
    return turned(image, generator.uniform(-TURN, TURN), 1 + generator.uniform(-ZOOM, ZOOM), tuple(move))


def _toned(image: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    contrast = generator.uniform(*CONTRAST)
    curve = (image.clip(0, 255) / 255) ** generator.uniform(*GAMMA)
    noise = generator.normal(0, generator.uniform(0, NOISE), image.shape)
    return 255 * (generator.uniform(0, 1 - contrast) + contrast * curve) + noise


def _compressed(image: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    file = io.BytesIO()
    whole = Image.fromarray(image.round().clip(0, 255).astype(np.uint8))
    whole.save(file, "JPEG", quality=int(generator.integers(*QUALITY)))
    return np.asarray(Image.open(file))
