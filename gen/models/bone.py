"""What bone suppression trains besides its denoiser, and the plain networks that it has to beat."""

from __future__ import annotations

import math

import torch
from diffusers import ModelMixin
from diffusers.configuration_utils import ConfigMixin, register_to_config
from torch import Tensor, nn
from torch.nn import functional as F

from gen.models.changes import DrawsChange
from gen.models.frozen import KeepsPart
from gen.models.segmenter import ChestSegmenter

TYPICAL = 0.1  # of a bone layer, in -1..1: what it is divided by where a network reads it


class BoneRegressor(ChestSegmenter):
    """The baseline: a plain U-Net that gives the bone layer of a radiograph, image - soft, in one call."""

    @register_to_config
    def __init__(
        self,
        structures: tuple[str, ...] = ("bone",),
        widths: tuple[int, ...] = (24, 48, 96, 96),
        resolution: int = 256,
        patch: int = 4,
    ) -> None:
        super().__init__(structures, widths, resolution, patch)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def bone(self, image: Tensor) -> Tensor:
        """The bone layer at the network's own size. Shapes: [B, 1, R, R] in [-1, 1] -> the same, in its units."""
        return self(image)

    @property
    def multiple(self) -> int:
        """What the sides of an image must divide by."""
        return self.config.patch * 2 ** (len(self.config.widths) - 1)


class BoneFilters(ModelMixin, ConfigMixin):
    """The older baseline: layers of 5 x 5 filters at full resolution, without pooling (Gusarev et al., CIBCB 2017).

    Theirs gives the soft-tissue image by a sigmoid; this one gives the bone layer, as `BoneRegressor` does.
    """

    @register_to_config
    def __init__(
        self, widths: tuple[int, ...] = (16, 32, 64, 128, 256), resolution: int = 256, kernel: int = 5
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, after in zip((1, *widths), widths, strict=False):
            filters = nn.Conv2d(before, after, kernel, padding="same", padding_mode="reflect", bias=False)
            layers += [filters, nn.BatchNorm2d(after), nn.ReLU()]
        self.layers = nn.Sequential(*layers)
        self.out = nn.Conv2d(widths[-1], 1, kernel, padding="same", padding_mode="reflect")
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def bone(self, image: Tensor) -> Tensor:
        """The bone layer. Shapes: [B, 1, H, W] in [-1, 1] -> the same, in its units."""
        return self.out(self.layers(image)).float()

    @property
    def multiple(self) -> int:
        """What the sides of an image must divide by."""
        return 1


Regressor = BoneRegressor | BoneFilters
REGRESSORS: dict[str, type[Regressor]] = {kind.__name__: kind for kind in (BoneRegressor, BoneFilters)}


class BoneConditioner(DrawsChange, KeepsPart, ModelMixin, ConfigMixin):
    """One learned token that stands for the task, the unit of what is drawn, and what it is a difference from.

    `residual` None draws the soft-tissue image's latents; a number draws their difference from the radiograph's,
    divided by it, so that nothing drawn is nothing changed. `first` are the settings of a `BoneRegressor`, frozen,
    whose answer stands in for the radiograph: predict, then refine what is left (Whang et al., arXiv 2112.02475). It
    reads pixels, so its latents must be blocks of them (gen.models.pixels).
    """

    kept = "regressor"

    @register_to_config
    def __init__(self, width: int = 32, residual: float | None = None, first: dict | None = None) -> None:
        super().__init__()
        self.token = nn.Parameter(0.02 * torch.randn(1, 1, width))
        self.regressor = None if first is None else BoneRegressor(**first)

    @classmethod
    def refining(cls, width: int, residual: float, first: BoneRegressor) -> BoneConditioner:
        """A conditioner around a trained regressor."""
        names = ("structures", "widths", "resolution", "patch")
        conditioner = cls(width, residual, {name: first.config[name] for name in names})
        conditioner.regressor.load_state_dict(first.state_dict())
        return conditioner

    @torch.no_grad()
    def layer(self, image: Tensor) -> Tensor:
        """The first answer's bone layer. Shapes: [B, p^2, h, w] -> the same."""
        fold = math.isqrt(image.shape[1])
        return F.pixel_unshuffle(self.regressor.bone(F.pixel_shuffle(image, fold)), fold).to(image.dtype)
