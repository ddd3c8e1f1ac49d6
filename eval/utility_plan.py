"""The settings of the utility study: which images a downstream classifier is trained on, one stage after another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import numpy as np
import pandas as pd
from pydantic import Field

from gen import seeds
from gen.config import load_config
from gen.errors import UserError
from gen.schema import Strict

from .readings import truth_matrix

ALL = float("inf")
RARE_BELOW = 0.05  # of the training images


@dataclass(frozen=True)
class Stage:
    """Training images: a share of the real patients, and synthetic ones as a multiple of those real images.

    ALL takes every synthetic image. `rare` keeps synthetic images that show a rare finding, `shuffled` gives them one
    another's labels. `share` is the stage's share of the optimizer steps.
    """

    real: float = 0.0
    synthetic: float = 0.0
    rare: bool = False
    shuffled: bool = False
    share: float = 1.0


SETTINGS: dict[str, tuple[Stage, ...]] = {
    "real": (Stage(1),),
    "synthetic": (Stage(0, ALL),),
    "real + synthetic": (Stage(1, ALL),),
    "real + shuffled synthetic": (Stage(1, ALL, shuffled=True),),
    "real + 1x": (Stage(1, 1),),
    "real + 2x": (Stage(1, 2),),
    "real + 5x": (Stage(1, 5),),
    "real + 10x": (Stage(1, 10),),
    "synthetic, then real": (Stage(0, ALL, share=0.5), Stage(1, share=0.5)),
    "real + rare synthetic": (Stage(1, ALL, rare=True),),
    "10 % real": (Stage(0.1),),
    "10 % real + 1x": (Stage(0.1, 1),),
    "10 % real + 2x": (Stage(0.1, 2),),
    "10 % real + 5x": (Stage(0.1, 5),),
    "10 % real + synthetic": (Stage(0.1, ALL),),
    "synthetic, then 10 % real": (Stage(0, ALL, share=0.5), Stage(0.1, share=0.5)),
    "10 % real + rare synthetic": (Stage(0.1, ALL, rare=True),),
    "1 % real": (Stage(0.01),),
    "1 % real + 1x": (Stage(0.01, 1),),
    "1 % real + 2x": (Stage(0.01, 2),),
    "1 % real + 5x": (Stage(0.01, 5),),
    "1 % real + synthetic": (Stage(0.01, ALL),),
    "synthetic, then 1 % real": (Stage(0, ALL, share=0.5), Stage(0.01, share=0.5)),
}
REAL, SHUFFLED = "real", "real + shuffled synthetic"


class UtilityConfig(Strict):
    """A utility study; every setting trains the same network for the same number of steps."""

    backbone: str = Field(description="small, or a timm model: densenet121, resnet50, convnext_tiny ...")
    pretrained: bool = Field(False, description="start timm backbones at their published weights")
    widths: tuple[int, ...] = Field((24, 48, 96, 192), description="of the small backbone's stages")
    blocks: tuple[int, ...] = Field((1, 2, 3, 1), description="residual blocks of the small backbone's stages")
    features: int = Field(gt=0, description="length of the feature vector")
    resolution: int = Field(gt=0, description="side of the images, pixels")
    steps: int = Field(gt=0, description="optimizer steps of every setting")
    batch_size: int = Field(gt=0, description="images a step")
    learning_rate: float = Field(gt=0, description="peak learning rate")
    seeds: int = Field(gt=0, description="networks a setting, each with its own start, order and real subset")
    settings: tuple[str, ...] = Field(description="names in gen.eval.utility_plan.SETTINGS")
    splits: tuple[str, ...] = Field(description="held-out splits: no setting is tuned on any of them")
    least: int = Field(gt=0, description="held-out images that must show a label, and lack it, for it to be judged")
    source: str = Field("", description="data set to train and test on; empty takes the one with most training images")
    external: Path | None = Field(None, description="index of another hospital: all its frontal rows are tested on")
    corrupted: bool = Field(True, description="test under noise, blur, low contrast and occlusion too")


def load_plan(path: Path | None = None, overrides: Sequence[str] = ()) -> UtilityConfig:
    """A study from its recipe; without one the quick study. Errors: UserError as `load_config`."""
    quick = files("gen.configs") / "utility_quick.yaml"
    return load_config(UtilityConfig, path or Path(str(quick)), tuple(overrides))


def check_settings(config: UtilityConfig) -> None:
    """Raise UserError for settings that do not exist, and for a study without its baseline."""
    unknown = [name for name in config.settings if name not in SETTINGS]
    if unknown:
        raise UserError(f"utility setting {unknown[0]!r}: none of {', '.join(SETTINGS)}")


def baseline(setting: str) -> str:
    """The real-only setting that a setting is tested against."""
    return next((f"{share} real" for share in ("10 %", "1 %") if f"{share} real" in setting), REAL)


@dataclass(frozen=True)
class TrainingSet:
    """Rows with their labels. Shapes: images [N] paths, truth [N, K] bool."""

    images: np.ndarray
    truth: np.ndarray

    def __add__(self, other: TrainingSet) -> TrainingSet:
        return TrainingSet(np.r_[self.images, other.images], np.r_[self.truth, other.truth])


class NotEnough(ValueError):
    """A setting cannot be measured: synthetic images or finished runs are lacking."""


def training_set(stage: Stage, real: pd.DataFrame, synthetic: pd.DataFrame, names: list[str], seed: int) -> TrainingSet:
    """The images of one stage, the same for one seed whatever the other settings are.

    Errors: NotEnough where synthetic images are lacking.
    """
    order = np.random.default_rng(seeds.mix(seed, "utility rows"))
    some = _patients(real, stage.real, order) if stage.real else real.iloc[:0]
    chosen = TrainingSet(some["image"].to_numpy(), truth_matrix(some["findings"], names))
    if stage.synthetic == 0:
        return chosen
    return chosen + _synthetic(stage, synthetic, names, len(some), rare_labels(real, names), order)


def rare_labels(real: pd.DataFrame, names: list[str]) -> np.ndarray:
    """Labels that few real training images show; the rarest one where none is rare. Shapes: -> [K] bool."""
    shares = truth_matrix(real["findings"], names).mean(0)
    return shares <= max(RARE_BELOW, float(shares.min()))


def _patients(real: pd.DataFrame, share: float, order: np.random.Generator) -> pd.DataFrame:
    """All images of a share of the patients, at least two of them."""
    names = order.permutation(np.sort(real["patient_id"].unique()))
    return real[real["patient_id"].isin(names[: max(2, round(share * len(names)))])]


def _synthetic(
    stage: Stage, table: pd.DataFrame, names: list[str], real: int, rare: np.ndarray, order: np.random.Generator
) -> TrainingSet:
    truth, images = truth_matrix(table["findings"], names), table["image"].to_numpy()
    if stage.rare:
        kept = truth[:, rare].any(1)
        truth, images = truth[kept], images[kept]
    wanted = len(images) if stage.synthetic == ALL else round(stage.synthetic * real)
    if wanted > len(images) or not len(images):
        raise NotEnough(f"needs {wanted or 'some'} synthetic images, there are {len(images)}")
    chosen = order.permutation(len(images))[:wanted]
    labels = order.permutation(chosen) if stage.shuffled else chosen
    return TrainingSet(images[chosen], truth[labels])
