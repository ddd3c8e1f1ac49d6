"""How well images fit their prompts by an image-text network, and whether each finds its own prompt among all."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from gen.data.prompts import prompt_from_row
from gen.judges.alignment import SHIPPED_CLIP, ImageText

from . import labels
from .groups import clusters_of
from .readings import BATCH, other_rows
from .resampling import as_figure, cluster_counts, estimate
from .section import Figure
from .stats import sample

OPEN_CLIP = "open_clip:"
SHIPPED = "clip"
RANKS = (1, 5, 10)
WAYS = ("prompt found", "image found")


class Matcher(Protocol):
    """What puts images and prompts into one space, as unit vectors."""

    def images(self, images: Tensor) -> Tensor: ...

    def texts(self, prompts: list[str]) -> Tensor: ...


class OpenClip:
    """Any open_clip model: hf-hub:NAME (BiomedCLIP ...), a name with its own weights, or a local folder."""

    def __init__(self, where: str) -> None:
        from .outside import asked_for

        with asked_for("open_clip_torch", "open-clip-torch", f"--image-text {OPEN_CLIP}{where}"):
            import open_clip

            name = f"local-dir:{where}" if Path(where).is_dir() else where
            self.model = open_clip.create_model_from_pretrained(name, return_transform=False).eval()
            self.tokenizer = open_clip.get_tokenizer(name)
        self.settings = self.model.visual.preprocess_cfg

    @torch.inference_mode()
    def images(self, images: Tensor) -> Tensor:
        """Shapes: [B, 1, H, W] in [-1, 1] -> [B, E]."""
        side = self.settings["size"] if isinstance(self.settings["size"], int) else self.settings["size"][0]
        small = F.interpolate((images + 1) / 2, (side, side), mode="bicubic", antialias=True).clamp(0, 1)
        mean, std = (torch.tensor(self.settings[name])[:, None, None] for name in ("mean", "std"))
        return F.normalize(self.model.encode_image((small.expand(-1, 3, -1, -1) - mean) / std), dim=1)

    @torch.inference_mode()
    def texts(self, prompts: list[str]) -> Tensor:
        """Shapes: -> [B, E]."""
        return F.normalize(self.model.encode_text(self.tokenizer(prompts)), dim=1)


def load_matcher(name: str | None) -> tuple[str, Matcher] | None:
    """A network and what to call it: open_clip:WHERE, a folder of train/contrastive.py, or the shipped one for None.

    None where nothing is asked for and nothing is shipped.
    Errors: UserError for weights that are not to be had.
    """
    if name is None:
        return (SHIPPED, ImageText.load()) if SHIPPED_CLIP.is_dir() else None
    if name.startswith(OPEN_CLIP):
        return name, OpenClip(name.removeprefix(OPEN_CLIP))
    return Path(name).name, ImageText.load(name)


def prompts_of(rows: pd.DataFrame) -> list[str]:
    """The prompt of each row; a real radiograph's is written from its labels in canonical words."""
    told = rows["prompt"].tolist() if "prompt" in rows else [""] * len(rows)
    records = rows.to_dict("records")
    return [prompt or prompt_from_row(record) for prompt, record in zip(told, records, strict=True)]


def embedded(matcher: Matcher, pixels: np.ndarray, prompts: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Unit vectors of images and of their prompts. Shapes: [N, H, W] uint8 -> [N, E], [N, E]."""
    images, texts = [], []
    for first in tqdm(range(0, len(pixels), BATCH), desc="image-text", unit="batch", disable=None):
        images.append(matcher.images(torch.from_numpy(pixels[first : first + BATCH]).float()[:, None] / 127.5 - 1))
        texts.append(matcher.texts(prompts[first : first + BATCH]))
    return torch.cat(images).float().numpy(), torch.cat(texts).float().numpy()


def match_figures(
    made: tuple[pd.DataFrame, np.ndarray, np.ndarray],
    real: tuple[pd.DataFrame, np.ndarray, np.ndarray],
    draws: int,
    seed: int,
) -> list[Figure]:
    """Mean cosine and retrieval at 1, 5 and 10; real pairs of equal number as floor, others' prompts as control.

    `made` and `real` are rows, image vectors and text vectors.
    """
    size = min(len(made[0]), len(real[0]))
    generator = np.random.default_rng([seed, 2])
    made, real = (_some(part, sample(len(part[0]), size, generator)) for part in (made, real))
    rows, images, texts = made
    weights = cluster_counts(clusters_of(rows), draws, seed)
    others = texts[other_rows(clusters_of(rows), seed)]
    values: dict[str, tuple[Callable, str]] = {"image-text score": (_cosines, "cosine")}
    values |= {
        f"{way}, R@{k}": (partial(hits, k=k, way=way), "") for way in ("prompt found", "image found") for k in RANKS
    }
    figures = []
    for name, (value, unit) in values.items():
        found = estimate(partial(labels.mean, value(images, texts).astype(float)), weights)
        floor, control = (float(value(*pair).mean()) for pair in (real[1:], (images, others)))
        figures.append(as_figure(name, found, size, unit, "high", floor, control))
    return figures


def hits(images: np.ndarray, texts: np.ndarray, k: int, way: str = WAYS[0]) -> np.ndarray:
    """Whether each image finds its prompt, or each prompt its image, among the k nearest; equal prompts are one.

    Shapes: [N, E], [N, E] unit vectors -> [N] bool.
    """
    same = texts @ texts.T > 1 - 1e-5
    scores = images @ texts.T if way == WAYS[0] else texts @ images.T
    nearest = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(same, nearest, 1).any(1)


def _cosines(images: np.ndarray, texts: np.ndarray) -> np.ndarray:
    return (images * texts).sum(1)


def _some(part: tuple[pd.DataFrame, np.ndarray, np.ndarray], chosen: np.ndarray):
    return part[0].iloc[chosen].reset_index(drop=True), part[1][chosen], part[2][chosen]
