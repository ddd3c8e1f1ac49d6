"""How well an image fits its prompt, by the shipped small CLIP; its figures stand in its folder's README.md."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from gen.errors import UserError
from gen.judges.loading import WEIGHTS, load_network, network_fingerprint
from gen.judges.preparation import checked
from gen.models.clip import RadiographCLIP, tokens_of

SHIPPED_CLIP = WEIGHTS / "clip"
BATCH = 64


class ImageText:
    """A CLIP with its tokenizer."""

    def __init__(
        self, model: RadiographCLIP, tokenizer: PreTrainedTokenizerBase, fingerprint: str = "untrained"
    ) -> None:
        self.model, self.tokenizer, self.fingerprint = model.eval(), tokenizer, fingerprint

    @classmethod
    def load(cls, folder: str | Path | None = None) -> ImageText:
        """From a folder of train/contrastive.py; None takes the shipped one.

        Errors: UserError for a folder without a usable CLIP.
        """
        folder = Path(folder or SHIPPED_CLIP)
        model = load_network(RadiographCLIP, folder, sees_images=False)
        if model.config.events is not None:
            raise UserError(f"{folder}: this CLIP reads events; give one that train/contrastive.py trained on prompts")
        if not (folder / "tokenizer" / "tokenizer.json").is_file():
            raise UserError(f"{folder}: its tokenizer/ is missing; copy the whole folder again")
        return cls(model, AutoTokenizer.from_pretrained(folder / "tokenizer"), network_fingerprint(folder))

    @torch.inference_mode()
    def images(self, images: Tensor) -> Tensor:
        """Unit vectors of radiographs. Shapes: [B, 1, H, W] in [-1, 1], any size -> [B, E] on the CPU."""
        parts = images.split(BATCH) if len(images) else [images]
        return torch.cat([self.model.images(checked(part).to(self.model.device)).cpu() for part in parts])

    @torch.inference_mode()
    def texts(self, prompts: list[str]) -> Tensor:
        """Unit vectors of prompts. Shapes: -> [B, E] on the CPU."""
        tokens = tokens_of(self.tokenizer, prompts, self.model.clip.context_length)
        return torch.cat([self.model.texts(part.to(self.model.device)).cpu() for part in tokens.split(BATCH)])

    def score(self, images: Tensor, prompts: list[str]) -> Tensor:
        """Cosine of each image with its own prompt. Shapes: [B, 1, H, W], B prompts -> [B] in -1..1.

        Errors: ValueError for unequal numbers.
        """
        if len(images) != len(prompts):
            raise ValueError(f"{len(images)} images and {len(prompts)} prompts; give one prompt an image")
        return (self.images(images) * self.texts(prompts)).sum(1)


def image_text_score(images: Tensor, prompts: list[str]) -> Tensor:
    """`ImageText.score` by the shipped model. Shapes: [B, 1, H, W] in [-1, 1], B prompts -> [B]."""
    return ImageText.load().score(images, prompts)


def retrieval(
    images: Tensor,
    texts: Tensor,
    ks: tuple[int, ...] = (1, 5, 10),
    same: Tensor | None = None,
    name: str = "text",
) -> dict[str, float]:
    """Share of images whose own text is among the k nearest, and of texts whose own image is, beside chance.

    Equal texts count as one another: whoever says the same is right. `same` tells which are equal, else their vectors
    do; `name` is what stands for texts. Shapes: [N, E], [N, E] unit vectors, same [N, N].
    """
    same = (texts @ texts.T) > 1 - 1e-5 if same is None else same
    similarity = images @ texts.T
    figures = {}
    for way, scores in ((f"image to {name}", similarity), (f"{name} to image", similarity.T)):
        for k in ks:
            nearest = scores.topk(min(k, len(scores)), dim=1).indices
            figures[f"{way} R@{k}"] = float(same.gather(1, nearest).any(1).float().mean())
    return figures | {f"chance R@{k}": chance(same, k) for k in ks}


def chance(same: Tensor, k: int) -> float:
    """R@k of a random order: one less the probability that k draws of N without return miss all equals of a row."""
    rest, left = (~same).sum(1, keepdim=True).double(), torch.arange(min(k, len(same)), device=same.device)
    missed = ((rest - left) / (len(same) - left)).clamp(min=0).prod(1)
    return float((1 - missed).mean())
