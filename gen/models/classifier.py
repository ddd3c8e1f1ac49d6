"""A multi-task reader of radiographs: findings, view, sex, child or adult, age, and a feature vector.

One class for the small network that the suite ships and for any timm backbone of the utility study.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from diffusers import ModelMixin
from diffusers.configuration_utils import ConfigMixin, register_to_config
from torch import Tensor, nn
from torch.nn import functional as F

from gen.errors import UserError

SMALL = "small"
MEAN_AGE, AGE_SPREAD = 45.0, 20.0  # years; the age output is in these units, so that it starts near the middle


class Outputs(NamedTuple):
    """Logits, but age in years. Shapes: findings [B, K]; view [B, V]; sex (female), child, age [B]; features [B, D]."""

    findings: Tensor
    view: Tensor
    sex: Tensor
    child: Tensor
    age: Tensor
    features: Tensor


class RadiographClassifier(ModelMixin, ConfigMixin):
    """A one-channel backbone, a feature vector and one linear layer for all questions.

    `backbone` is "small", whose residual stages have `widths` and `blocks`, or any timm model (densenet121, resnet50,
    convnext_tiny, vit_small_patch16_224 ...). Images are resampled to `resolution` and standardised one by one, so
    that brightness and contrast of a site say little.
    """

    @register_to_config
    def __init__(
        self,
        labels: tuple[str, ...],
        views: tuple[str, ...] = ("PA", "AP", "LATERAL"),
        backbone: str = SMALL,
        widths: tuple[int, ...] = (24, 48, 96, 192),
        blocks: tuple[int, ...] = (1, 2, 3, 1),
        features: int = 256,
        resolution: int = 128,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        self.trunk, width = backbone_of(backbone, tuple(widths), tuple(blocks), resolution)
        self.neck = nn.Linear(width, features)
        self.drop = nn.Dropout(dropout)
        self.sizes = (len(labels), len(views), 1, 1, 1)
        self.head = nn.Linear(features, sum(self.sizes))

    def forward(self, image: Tensor) -> Outputs:
        """Answers for images of any size. Shapes: image [B, 1, H, W] in [-1, 1]."""
        features = self.neck(self.trunk(self.prepare(image)))  # [B, D]
        answers = self.head(self.drop(F.gelu(features)))  # [B, K + V + 3]
        findings, view, *single = answers.float().split(self.sizes, dim=1)
        sex, child, age = (one.squeeze(1) for one in single)
        return Outputs(findings, view, sex, child, MEAN_AGE + AGE_SPREAD * age, features.float())

    def prepare(self, image: Tensor) -> Tensor:
        """What the backbone sees: resampled, mean 0 and deviation 1 an image. [B, 1, H, W] -> [B, 1, R, R]."""
        return standardised(image, self.config.resolution)

    @torch.no_grad()
    def shift_findings(self, shift: Tensor) -> None:
        """Add to the logits of the findings, for good. Shapes: [K]."""
        self.head.bias[: len(shift)] += shift.to(self.head.bias)

    def load_imagenet(self) -> None:
        """Start a timm backbone at its pretrained weights, the colour channels summed.

        Errors: UserError where timm has none or cannot fetch them.
        """
        name = self.config.backbone
        try:
            ready = _timm(name, self.config.resolution, pretrained=True)
        except (RuntimeError, OSError) as error:
            said = str(error).splitlines()[0]
            raise UserError(
                f"backbone {name}: no pretrained weights to be had ({said}); set pretrained to false"
            ) from None
        self.trunk.load_state_dict(ready.state_dict())


def standardised(image: Tensor, side: int) -> Tensor:
    """Resampled, mean 0 and deviation 1 an image. Shapes: [B, 1, H, W] -> [B, 1, side, side]."""
    if image.shape[-2:] != (side, side):
        image = F.interpolate(image.float(), (side, side), mode="bilinear", antialias=True)
    std, mean = torch.std_mean(image, dim=(1, 2, 3), keepdim=True)
    return (image - mean) / std.clamp_min(0.02)  # a blank image stays blank


class SmallBackbone(nn.Sequential):
    """Residual stages, each at half the side of the one before, and global pooling. [B, 1, R, R] -> [B, C]."""

    def __init__(self, widths: tuple[int, ...], blocks: tuple[int, ...]) -> None:
        layers: list[nn.Module] = [nn.Conv2d(1, widths[0], 5, 2, 2, bias=False), nn.BatchNorm2d(widths[0]), nn.ReLU()]
        before = widths[0]
        for level, (width, count) in enumerate(zip(widths, blocks, strict=True)):
            for block in range(count):
                layers.append(ResidualBlock(before, width, stride=2 if level and not block else 1))
                before = width
        super().__init__(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions with a channel gate, beside a way past them (arXiv 1512.03385, 1709.01507)."""

    def __init__(self, before: int, width: int, stride: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(before, width, 3, stride, 1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, 1, 1, bias=False),
            nn.BatchNorm2d(width),
        )
        self.gate = nn.Sequential(nn.Linear(width, width // 4), nn.ReLU(), nn.Linear(width // 4, width), nn.Sigmoid())
        self.past = nn.Identity()
        if stride > 1 or before != width:
            pool = nn.AvgPool2d(stride) if stride > 1 else nn.Identity()
            self.past = nn.Sequential(pool, nn.Conv2d(before, width, 1, bias=False), nn.BatchNorm2d(width))

    def forward(self, x: Tensor) -> Tensor:
        """Shapes: [B, C, h, w] -> [B, C', h / stride, w / stride]."""
        y = self.layers(x)
        y = y * self.gate(y.mean((2, 3)))[:, :, None, None]
        return F.relu(y + self.past(x))


def backbone_of(name: str, widths: tuple, blocks: tuple, resolution: int) -> tuple[nn.Module, int]:
    """A one-channel backbone and the width of what it gives. Errors: UserError for a name that timm does not know."""
    if name == SMALL:
        return SmallBackbone(widths, blocks), widths[-1]
    model = _timm(name, resolution, pretrained=False)
    return model, model.num_features


def _timm(name: str, resolution: int, pretrained: bool) -> nn.Module:
    import timm

    if not timm.is_model(name):
        near = ", ".join(timm.list_models(f"*{name[:6]}*")[:5]) or "timm.list_models() shows them"
        raise UserError(f"backbone {name!r}: neither 'small' nor a timm model (near it: {near})")
    # transformers are built for one size; convolutional networks take any, and know no such argument
    size = {"img_size": resolution} if timm.get_pretrained_cfg(name).fixed_input_size else {}
    return timm.create_model(name, pretrained=pretrained, in_chans=1, num_classes=0, **size)
