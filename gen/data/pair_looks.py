"""Pairs of radiograph and soft-tissue image as other hospitals might show them: the bridge from phantoms to patients.

Every change acts on both images alike, so that a pair stays a pair: what differs afterwards is the bone alone. But one:
a workstation shows either image at the brightness that it finds right, so that a patient's soft-tissue image keeps most
of the radiograph's local level, where a phantom's is darker by the mean of the bone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image
from scipy.ndimage import gaussian_filter
from torch.nn import functional as F

from gen import seeds
from gen.data.images import read_image, shrink
from gen.data.pair_nodules import with_nodules
from gen.files import replacing

LEVELS = np.linspace(0, 1, 65)  # quantiles by which grey levels are matched
BONE_GAIN = (0.8, 2.0)  # of the bone in the lungs: phantoms show it fainter than patients
BRIGHTEST_BONE = (0.12, 0.3)  # grey levels that bone can add: phantoms show ribs seen edge-on brighter than patients
TURN, SHIFT, ZOOM = 5.0, 0.05, (0.8, 1.8)  # degrees, shares of the side, scale
LEVEL = (0.5, 1.0)  # share of the local level that the soft-tissue image keeps
LEVEL_WIDTH = 1 / 20  # of the side, standard deviation of what counts as level: the distance of two ribs
STILL = 0.5  # share of the plain pairs that stay in their place
COARSE = (-0.1, 0.35)  # share of the coarse contrast that is taken out, as latitude processing does
DETAIL = (-0.4, 0.9)  # gain of the finest detail
GAMMA = 0.35  # largest logarithm of the exponent
MATCHED = 0.7  # share of the pairs that get a real radiograph's grey levels
LIKENESS = (0.4, 0.9)  # how far their curve is followed: all the way, one lung's few greys would take half the scale
NOISE = 0.012  # largest standard deviation of noise, which both images share


@dataclass(frozen=True)
class Ranges:
    """What a pair is changed by, drawn for it."""

    gain: float
    ceiling: float
    level: float
    coarse: float
    detail: float
    gamma: float
    matched: float
    noise: float
    place: tuple[float, float, float, float]

    @classmethod
    def drawn(cls, rng: np.random.Generator) -> Ranges:
        """Uniform draws; the gain's logarithm is uniform."""
        return cls(
            gain=float(np.exp(rng.uniform(*np.log(BONE_GAIN)))),
            ceiling=float(rng.uniform(*BRIGHTEST_BONE)),
            level=float(rng.uniform(*LEVEL)),
            coarse=float(rng.uniform(*COARSE)),
            detail=float(rng.uniform(*DETAIL)),
            gamma=float(np.exp(rng.uniform(-GAMMA, GAMMA))),
            matched=float(rng.uniform(*LIKENESS)) if rng.random() < MATCHED else 0.0,
            noise=float(rng.uniform(0, NOISE)),
            place=drawn_place(rng),
        )


def drawn_place(rng: np.random.Generator) -> tuple[float, float, float, float]:
    """Turn, shifts to the right and down, and zoom; the zoom's logarithm is uniform."""
    turn, right, down = rng.uniform(-1, 1, 3)
    return TURN * turn, SHIFT * right, SHIFT * down, float(np.exp(rng.uniform(*np.log(ZOOM))))


def varied(
    image: np.ndarray, soft: np.ndarray, rng: np.random.Generator, greys: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """One pair in another look; `greys` holds quantile functions of real radiographs (`grey_levels`).

    Shapes: image, soft [S, S] in 0..1, greys [N, 65] -> two of [S, S] in 0..1.
    """
    ranges = Ranges.drawn(rng)
    bone = with_contrast(image - soft, ranges.gain, ranges.ceiling)
    soft = with_nodules(soft, rng)
    level = ranges.level * gaussian_filter(bone, LEVEL_WIDTH * len(bone))
    pair = moved(np.stack([soft + bone, soft + level]), *ranges.place)
    pair = np.stack([processed(one, ranges.coarse, ranges.detail) for one in pair])
    pair = stretched(pair) ** ranges.gamma
    if ranges.matched and greys is not None:
        pair = matched(pair, greys[rng.integers(len(greys))], ranges.matched)
    noise = gaussian_filter(rng.normal(size=image.shape), 0.6)
    pair = pair + ranges.noise * noise / noise.std()
    return np.clip(pair[0], 0, 1).astype(np.float32), np.clip(pair[1], 0, 1).astype(np.float32)


def replaced(image: np.ndarray, soft: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """One pair in its own look: with nodules, and elsewhere in the frame or where it is. Shapes as in `varied`."""
    with_more = with_nodules(soft, rng)
    pair = np.stack([with_more + (image - soft), with_more])
    if rng.random() >= STILL:
        pair = moved(pair, *drawn_place(rng))
    return np.clip(pair[0], 0, 1).astype(np.float32), np.clip(pair[1], 0, 1).astype(np.float32)


def with_contrast(bone: np.ndarray, gain: float, ceiling: float) -> np.ndarray:
    """Bone made plainer where it is faint and held below a ceiling where it is bright."""
    return ceiling * np.tanh(gain * bone / ceiling)


def moved(images: np.ndarray, turn: float, right: float, down: float, zoom: float) -> np.ndarray:
    """Turn (degrees), shift (shares of the side) and zoom; what comes in is black. Shapes: [K, S, S] -> the same."""
    angle = np.deg2rad(turn)
    cos, sin = np.cos(angle) / zoom, np.sin(angle) / zoom
    place = torch.tensor([[[cos, -sin, 2 * right], [sin, cos, 2 * down]]], dtype=torch.float32)
    grid = F.affine_grid(place, [1, len(images), *images.shape[1:]], align_corners=False)
    source = torch.from_numpy(np.ascontiguousarray(images, np.float32))[None]
    return F.grid_sample(source, grid, mode="bilinear", padding_mode="zeros", align_corners=False)[0].numpy()


def processed(image: np.ndarray, coarse: float, detail: float) -> np.ndarray:
    """Coarse contrast lowered, fine detail raised or lowered: linear, so that bone and tissue still add up."""
    side = image.shape[0]
    level = gaussian_filter(image, side / 9, truncate=2.5) - image.mean()
    fine = image - gaussian_filter(image, side / 110)
    return image - coarse * level + detail * fine


def stretched(pair: np.ndarray) -> np.ndarray:
    """Both images through the line that takes their darkest and brightest levels to 0 and 1."""
    low, high = np.quantile(pair[1], 0.005), np.quantile(pair[0], 0.998)
    return np.clip((pair - low) / max(high - low, 1e-3), 0, 1)


def matched(pair: np.ndarray, greys: np.ndarray, share: float) -> np.ndarray:
    """Both images part of the way through the curve that gives the radiograph another one's grey levels.

    Shapes: pair [2, S, S], greys the other's quantiles [65].
    """
    own = np.quantile(pair[0], LEVELS) + 1e-6 * LEVELS  # increasing, also where many pixels are black
    return (1 - share) * pair + share * np.interp(pair, own, greys)


def grey_levels(paths: list[str], side: int = 128) -> np.ndarray:
    """Quantiles of the brightness of radiographs. Shapes: N paths -> [N, 65] in 0..1."""
    images = (shrink(read_image(path), side) for path in paths)
    return np.stack([np.quantile(image, LEVELS) for image in images]).astype(np.float32)


def write_varied(
    rows: pd.DataFrame, out: Path, greys: np.ndarray | None, times: int, seed: int, plain: bool = True
) -> Iterator[dict]:
    """Write `times` looks of every row's pair into a folder, where they are not there yet; yields their rows.

    `plain` adds a pair in its own look (`replaced`).
    """
    for record in rows.to_dict("records"):
        name = Path(record["image"]).stem
        for number in (*range(times), *(("plain",) if plain else ())):
            places = [out / part / f"{name}_{number}.png" for part in ("images", "soft")]
            if not all(place.is_file() for place in places):
                rng = np.random.default_rng(seeds.mix(seed, name, number))
                both = [read_image(record[column]) for column in ("image", "soft")]
                pair = replaced(*both, rng) if number == "plain" else varied(*both, rng, greys)
                for picture, place in zip(pair, places, strict=True):
                    save_picture(picture, place)
            yield {**record, "image": str(places[0].absolute()), "soft": str(places[1].absolute())}


def save_picture(picture: np.ndarray, place: Path) -> None:
    """Write a grey PNG of 8 bits. Shapes: [H, W] in 0..1."""
    with replacing(place) as temporary:
        Image.fromarray(np.round(picture * 255).astype(np.uint8)).save(temporary, format="PNG")
