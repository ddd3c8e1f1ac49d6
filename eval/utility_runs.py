"""Training one network of the utility study in memory; what it says of the test images is kept once finished."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file
from torch import nn

from gen import seeds
from gen.data.labelled import UNKNOWN, LabelledImages
from gen.engine.classification import ClassifierConfig, ClassifierLearner, ClassifierLossConfig, build_classifier
from gen.engine.learner import Learner
from gen.files import replacing
from gen.models.classifier import RadiographClassifier
from gen.schema import Strict, TrainConfig

from .utility_plan import UtilityConfig

BATCH = 128  # images a call, in testing
WARMUP = 0.1  # of the steps
AUGMENTATION = 2.0  # multiple of the small changes of gen.data.augment
VIEWS = ("PA", "AP")


class RunJob(Strict):
    """One stage of one setting with one seed, as the loop records it."""

    utility: UtilityConfig
    labels: tuple[str, ...]
    train: TrainConfig


@dataclass(frozen=True)
class Shelf:
    """Pixels of all images of a study, by path. Shapes: pixels [N, R, R] uint8."""

    pixels: np.ndarray
    places: dict[str, int]

    def of(self, images: np.ndarray) -> np.ndarray:
        """Pixels of some images. Shapes: -> [n, R, R] uint8."""
        return self.pixels[[self.places[image] for image in images]]


class StudyLearner(ClassifierLearner):
    """The learner of train/classifier.py, which here never looks at held-out images on the way."""

    def validate(self, trained: nn.ModuleDict, folder: Path) -> dict[str, float]:
        """Nothing: no setting is chosen by what it does on the way."""
        return {}


def learner_of(network: RadiographClassifier, pixels: np.ndarray, truth: np.ndarray, train: TrainConfig) -> Learner:
    """A classifier and its images, for the loop. Shapes: [N, R, R] uint8, [N, K] bool."""
    images = labelled(pixels, truth)
    return StudyLearner(network, images, images.select([]), ClassifierLossConfig(), train, AUGMENTATION)


def labelled(pixels: np.ndarray, truth: np.ndarray) -> LabelledImages:
    """Images of which nothing but the findings is known. Shapes: [N, R, R] uint8, [N, K] bool."""
    count = len(pixels)
    unknown = torch.full((count,), torch.nan)
    return LabelledImages(
        images=torch.from_numpy(np.ascontiguousarray(pixels))[:, None],
        findings=torch.from_numpy(truth.astype(np.float32)),
        view=torch.full((count,), UNKNOWN),
        sex=unknown,
        child=unknown,
        age=unknown,
        keys=[data_key(*pair) for pair in zip(pixels, truth, strict=True)],
        patients=[""] * count,
    )


def new_network(config: UtilityConfig, labels: tuple[str, ...], seed: int) -> RadiographClassifier:
    """An untrained classifier, the same for every setting of one seed."""
    shape = ClassifierConfig(
        backbone=config.backbone,
        widths=config.widths,
        blocks=config.blocks,
        features=config.features,
        resolution=config.resolution,
        pretrained=config.pretrained,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seeds.mix(seed, "utility network"))
        return build_classifier(shape, labels, VIEWS)


def train_config(config: UtilityConfig, share: float, seed: int) -> TrainConfig:
    """A stage's share of the steps; nothing else differs between settings."""
    steps = max(1, round(config.steps * share))
    return TrainConfig(
        steps=steps,
        batch_size=config.batch_size,
        learning_rate=config.learning_rate,
        lr_schedule="cosine",
        warmup_steps=round(WARMUP * steps),
        weight_decay=0.05,
        ema_decay=0.99,
        mixed_precision="auto" if torch.cuda.is_available() else "no",
        seed=seeds.mix(seed, "utility run") % 2**31,
        checkpoint_every=max(steps, 1000),
        log_every=max(1, steps // 10),
    )


@torch.inference_mode()
def predict(network: RadiographClassifier, pixels: np.ndarray) -> np.ndarray:
    """Probabilities of the findings. Shapes: [N, R, R] uint8 -> [N, K] float32."""
    network.eval()
    parts = []
    for first in range(0, len(pixels), BATCH):
        images = torch.from_numpy(pixels[first : first + BATCH])[:, None].float() / 127.5 - 1
        parts.append(network(images.to(network.device)).findings.sigmoid().cpu().numpy())
    return np.concatenate(parts)


def data_key(pixels: np.ndarray, truth: np.ndarray) -> str:
    """Sixteen hexadecimal digits of images and labels in their order."""
    return hashlib.sha256(pixels.tobytes() + np.ascontiguousarray(truth).tobytes()).hexdigest()[:16]


def kept(folder: Path, key: str) -> dict[str, np.ndarray] | None:
    """What a finished run predicted, if it was trained on what `key` stands for."""
    try:
        record = json.loads((folder / "done.json").read_text())
        return load_file(folder / "predictions.safetensors") if record["key"] == key else None
    except (OSError, ValueError, KeyError, SafetensorError):
        return None


def keep(folder: Path, key: str, predictions: dict[str, np.ndarray], record: dict) -> None:
    """Write a run's predictions, then the mark that it is finished; its states to resume from are given up."""
    with replacing(folder / "predictions.safetensors") as temporary:
        save_file({name: np.ascontiguousarray(values) for name, values in predictions.items()}, temporary)
    with replacing(folder / "done.json") as temporary:
        temporary.write_text(json.dumps({"key": key, **record}, indent=1))
    for state in folder.glob("stage*/state"):
        shutil.rmtree(state)
