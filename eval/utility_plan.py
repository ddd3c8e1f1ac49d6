"""The settings of the utility study: which images a downstream classifier is trained on, one stage after another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from pydantic import Field

from gen import seeds
from gen.config import load_config
from gen.errors import UserError
from gen.schema import Strict

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
Goal = Literal["labels", "masks", "boxes"]
QUICK = {"labels": "utility_quick.yaml", "masks": "utility_masks.yaml", "boxes": "utility_boxes.yaml"}
EVERY = "all"


class UtilityConfig(Strict):
    """A utility study; every setting trains the same network for the same number of steps."""

    target: Goal = Field("labels", description="what the network learns: a classifier, a segmenter, a detector")
    names: tuple[str, ...] = Field((), description="labels, structures or findings; empty: all that are often enough")
    backbone: str = Field(description="small, or a timm model: densenet121, resnet50 ...; unet for masks and boxes")
    pretrained: bool = Field(False, description="start timm backbones at their published weights")
    widths: tuple[int, ...] = Field((24, 48, 96, 192), description="of the stages of small and unet")
    blocks: tuple[int, ...] = Field((1, 2, 3, 1), description="residual blocks of the small backbone's stages")
    patch: int = Field(4, gt=0, description="pixels that the unet folds into channels, a side")
    features: int = Field(128, gt=0, description="length of a classifier's feature vector")
    resolution: int = Field(gt=0, description="side of the images, pixels")
    steps: int = Field(gt=0, description="optimizer steps of every setting")
    batch_size: int = Field(gt=0, description="images a step")
    learning_rate: float = Field(gt=0, description="peak learning rate")
    seeds: int = Field(gt=0, description="networks a setting, each with its own start, order and real subset")
    settings: tuple[str, ...] = Field(description="names in gen.eval.utility_plan.SETTINGS")
    splits: tuple[str, ...] = Field(description="held-out splits: no setting is tuned on any of them")
    least: int = Field(gt=0, description="held-out images that must show a name (and lack a label) for it to be judged")
    source: str = Field("", description="data set to train and test on; empty takes the largest one, `all` every one")
    external: Path | None = Field(None, description="index of another hospital: all its frontal rows are tested on")
    corrupted: bool = Field(True, description="test under noise, blur, low contrast and occlusion too")


def load_plan(path: Path | None = None, overrides: Sequence[str] = (), target: Goal | None = None) -> UtilityConfig:
    """A study from its recipe; without one the quick study of a target.

    Errors: UserError as `load_config`, and for a recipe of another target.
    """
    quick = files("gen.configs") / QUICK[target or "labels"]
    plan = load_config(UtilityConfig, path or Path(str(quick)), tuple(overrides))
    if target is not None and plan.target != target:
        raise UserError(f"{path}: a study of {plan.target}, not {target}; give a recipe with target: {target}")
    return plan


def check_settings(config: UtilityConfig) -> None:
    """Raise UserError for settings that do not exist, and for a backbone that cannot learn the target."""
    unknown = [name for name in config.settings if name not in SETTINGS]
    if unknown:
        raise UserError(f"utility setting {unknown[0]!r}: none of {', '.join(SETTINGS)}")
    if (config.target != "labels") != (config.backbone == "unet"):
        remedy = f"take --target {config.target}, or its recipe {QUICK[config.target]}"
        raise UserError(f"utility: backbone {config.backbone!r} cannot learn {config.target}; {remedy}")


def baseline(setting: str) -> str:
    """The real-only setting that a setting is tested against."""
    return next((f"{share} real" for share in ("10 %", "1 %") if f"{share} real" in setting), REAL)


@dataclass(frozen=True)
class Known:
    """Rows of images with what is known of them, and what each shows. Shapes: truth [N, K, ...], shown [N, K] bool."""

    rows: pd.DataFrame
    truth: np.ndarray
    shown: np.ndarray

    @property
    def images(self) -> np.ndarray:
        return self.rows["image"].to_numpy()


@dataclass(frozen=True)
class TrainingSet:
    """Images with their truth. Shapes: images [N] paths, truth [N, K, ...]."""

    images: np.ndarray
    truth: np.ndarray

    def __add__(self, other: TrainingSet) -> TrainingSet:
        return TrainingSet(np.r_[self.images, other.images], np.concatenate([self.truth, other.truth]))


class NotEnough(ValueError):
    """A setting cannot be measured: synthetic images or finished runs are lacking."""


def training_set(stage: Stage, real: Known, synthetic: Known, seed: int) -> TrainingSet:
    """The images of one stage, the same for one seed whatever the other settings are.

    Errors: NotEnough where synthetic images are lacking.
    """
    order = np.random.default_rng(seeds.mix(seed, "utility rows"))
    none = np.zeros(len(real.rows), bool)
    some = _patients(real.rows["patient_id"].to_numpy(), stage.real, order) if stage.real else none
    chosen = TrainingSet(real.images[some], real.truth[some])
    if stage.synthetic == 0:
        return chosen
    return chosen + _synthetic(stage, synthetic, len(chosen.images), rare_names(real.shown), order)


def rare_names(shown: np.ndarray) -> np.ndarray:
    """What few real training images show; the rarest one where nothing is rare. Shapes: [N, K] bool -> [K] bool."""
    shares = shown.mean(0)
    return shares <= max(RARE_BELOW, float(shares.min()))


def _patients(patients: np.ndarray, share: float, order: np.random.Generator) -> np.ndarray:
    """All images of a share of the patients, at least two of them. Shapes: [N] -> [N] bool."""
    names = order.permutation(np.unique(patients))
    return np.isin(patients, names[: max(2, round(share * len(names)))])


def _synthetic(stage: Stage, synthetic: Known, real: int, rare: np.ndarray, order: np.random.Generator) -> TrainingSet:
    truth, images = synthetic.truth, synthetic.images
    if stage.rare:
        kept = synthetic.shown[:, rare].any(1)
        truth, images = truth[kept], images[kept]
    wanted = len(images) if stage.synthetic == ALL else round(stage.synthetic * real)
    if wanted > len(images) or not len(images):
        raise NotEnough(f"needs {wanted or 'some'} synthetic images, there are {len(images)}")
    chosen = order.permutation(len(images))[:wanted]
    labels = order.permutation(chosen) if stage.shuffled else chosen
    return TrainingSet(images[chosen], truth[labels])
