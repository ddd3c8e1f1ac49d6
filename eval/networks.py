"""Feature networks: a radiograph becomes a vector, the same way in every run, by a network that says what it is."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gen.data.moments import fingerprint
from gen.errors import UserError

TILES = 4  # a side, of the control's puzzle
Standing = Literal["shipped", "published", "own", "random"]
STANDINGS: dict[str, str] = {
    "shipped": "the small network shipped with this suite; its numbers are not comparable with the literature",
    "published": "a published network under its published preprocessing",
    "own": "weights from a file or folder of yours; comparable only with numbers of the same weights",
    "random": "RANDOM weights: its numbers say little about radiographs and nothing to anybody else",
}


class Output(NamedTuple):
    """Shapes: features [B, D]; logits [B, K] over exclusive classes, or None where the network has no such head."""

    features: Tensor
    logits: Tensor | None = None


@dataclass
class FeatureNetwork:
    """A network with its preprocessing: brightness 0..1 at `side` pixels, centre crop, channels, (x - mean) / std.

    The preprocessing is part of the fingerprint: the same weights fed otherwise are another measuring instrument.
    """

    name: str
    module: nn.Module
    forward: Callable[[Tensor], Output]
    standing: Standing
    side: int
    crop: int
    mean: tuple[float, ...] = (0.5,)
    std: tuple[float, ...] = (0.5,)
    classes: int = 0  # logits that `forward` gives
    warning: str = ""
    tiles: int = 0

    def __post_init__(self) -> None:
        self.module.eval().requires_grad_(False)
        fed = (self.side, self.crop, list(self.mean), list(self.std), self.tiles)
        self.fingerprint = fingerprint("features 1", digest(self.module), *fed)

    @property
    def remark(self) -> str:
        """One sentence on what its numbers can be compared with."""
        return f"{self.name}: {STANDINGS[self.standing]}.{' ' + self.warning if self.warning else ''}"

    def in_pieces(self) -> FeatureNetwork:
        """The same network, shown images cut into tiles and shuffled: what no radiograph looks like, as a control."""
        return replace(self, name=f"{self.name}, tiles", tiles=TILES)

    def prepared(self, images: Tensor) -> Tensor:
        """What the network is fed. Shapes: [B, 1, side, side] in -1..1 -> [B, C, crop, crop]."""
        margin = (images.shape[-1] - self.crop) // 2
        images = images[..., margin : margin + self.crop, margin : margin + self.crop]
        images = shuffled_tiles(images, self.tiles) if self.tiles else images
        mean, std = (images.new_tensor(values)[:, None, None] for values in (self.mean, self.std))
        return ((images + 1) / 2 - mean) / std

    @torch.inference_mode()
    def __call__(self, images: Tensor) -> Output:
        """Features of a batch. Shapes: [B, 1, side, side] in -1..1 -> [B, D]."""
        output = self.forward(self.prepared(images))
        if not torch.isfinite(output.features).all():
            raise UserError(
                f"{self.name}: gives features that are no numbers; its weights are damaged, fetch them again"
            )
        return output


def digest(module: nn.Module) -> str:
    """SHA-256 over the names and values of all weights and buffers."""
    seen = hashlib.sha256()
    for name, value in sorted(module.state_dict().items()):
        seen.update(name.encode() + value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return seen.hexdigest()


def shuffled_tiles(images: Tensor, tiles: int) -> Tensor:
    """Tiles of every image in one fixed disorder. Shapes: [B, C, S, S] -> the same."""
    size = images.shape[-1] // tiles
    whole = images.clone()
    order = torch.randperm(tiles * tiles, generator=torch.Generator().manual_seed(1)).tolist()
    for place, source in enumerate(order):
        (y, x), (v, u) = (divmod(number, tiles) for number in (place, source))
        whole[..., y * size : (y + 1) * size, x * size : (x + 1) * size] = images[
            ..., v * size : (v + 1) * size, u * size : (u + 1) * size
        ]
    return whole


class RandomNetwork(nn.Module):
    """Convolutions that nobody trained: for tests, and to see what no knowledge at all measures."""

    def __init__(self, width: int = 32, seed: int = 0) -> None:
        super().__init__()
        channels = (1, width, 2 * width, 4 * width)
        self.layers = nn.ModuleList(nn.Conv2d(a, b, 5, stride=2, padding=2) for a, b in pairwise(channels))
        generator = torch.Generator().manual_seed(seed)
        for layer in self.layers:
            layer.weight.data.normal_(0, layer.weight[0].numel() ** -0.5, generator=generator)
            layer.bias.data.zero_()

    def forward(self, x: Tensor) -> Tensor:
        """Shapes: [B, 1, H, W] -> [B, 12 width]: means of two quarters and spread of the last layer."""
        for layer in self.layers:
            x = F.gelu(layer(x)) * 2
        halves = F.adaptive_avg_pool2d(x, (2, 1)).flatten(1)
        return torch.cat([halves, x.std(dim=(2, 3))], dim=1)


def random_network(where: str) -> FeatureNetwork:
    """`random` or `random:SEED`."""
    module = RandomNetwork(seed=int(where or 0))
    return FeatureNetwork(f"random convolutions {where or 0}", module, lambda x: Output(module(x)), "random", 64, 64)


def reader_network(where: str) -> FeatureNetwork:
    """`reader`, the shipped small network, or `reader:FOLDER` of one trained by train/classifier.py."""
    from gen.judges.reader import Reader

    reader = Reader.load(where or None)
    name, standing = (f"reader {where}", "own") if where else ("small reader", "shipped")
    forward = lambda x: Output(reader.read(x).features.to(x.device))  # noqa: E731
    side = reader.classifier.config.resolution
    return FeatureNetwork(name, reader.classifier, forward, standing, side, side)


def load_network(name: str) -> FeatureNetwork:
    """A network by `KIND` or `KIND:NAME_OR_PATH`.

    Kinds: reader, rad-dino, biomedclip, xrv, inception, hf, timm, open_clip, random.
    Errors: UserError for an unknown kind, a missing package, or weights that are not there.
    """
    from .outside import OUTSIDE, SHORT

    kind, _, where = SHORT.get(name, name).partition(":")
    loaders = {"reader": reader_network, "random": random_network, **OUTSIDE}
    if kind not in loaders:
        raise UserError(f"--network {name}: unknown; one of {', '.join([*loaders, *SHORT])}, with :NAME_OR_PATH")
    return loaders[kind](where)
