"""Training a radiograph classifier: what the job of train/classifier.py and the utility study have in common."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from gen.data.augment import augment_batch
from gen.data.dataset import StepBatches
from gen.data.labelled import UNKNOWN, LabelledImages
from gen.data.moments import fingerprint
from gen.engine.learner import Learner
from gen.engine.reading import classifier_outputs, reading_figures
from gen.models.classifier import AGE_SPREAD, Outputs, RadiographClassifier
from gen.schema import DataConfig, Strict, TrainConfig


class ClassifierConfig(Strict):
    """Shape of the network (gen.models.classifier.RadiographClassifier)."""

    backbone: str = Field("small", description="small, or a timm model: densenet121, resnet50, convnext_tiny ...")
    widths: tuple[int, ...] = Field((24, 48, 96, 192), description="channels a stage (small)")
    blocks: tuple[int, ...] = Field((1, 2, 3, 1), description="residual blocks a stage (small)")
    features: int = Field(256, gt=0, description="length of the feature vector")
    resolution: int = Field(description="side of the image that the network sees, pixels")
    dropout: float = Field(0.2, ge=0, lt=1, description="share of features dropped before the answers")
    pretrained: bool = Field(False, description="start a timm backbone at its ImageNet weights, fetched from the hub")


class ClassifierLossConfig(Strict):
    """Weights of the questions, and how rare findings are weighted; 0 leaves a question out."""

    findings: float = Field(1.0, ge=0, description="mean binary cross-entropy over the known findings")
    view: float = Field(0.0, ge=0, description="cross-entropy")
    sex: float = Field(0.0, ge=0, description="binary cross-entropy")
    child: float = Field(0.0, ge=0, description="binary cross-entropy")
    age: float = Field(0.0, ge=0, description="smooth L1 in units of 20 years")
    balance: float = Field(0.0, ge=0, le=1, description="positives weigh (negatives / positives)^balance; 0 all alike")


class ClassifierJob(Strict):
    """train/classifier.py"""

    run: Path = Field(description="folder of states, export and metrics")
    data: DataConfig
    view_index: Path | None = Field(None, description="index of phantoms, from which only the view is learned")
    network: ClassifierConfig
    loss: ClassifierLossConfig
    views: tuple[str, ...] = Field(("PA", "AP", "LATERAL"), description="views to tell apart")
    labels: tuple[str, ...] | None = Field(None, description="findings to learn; null takes those with enough images")
    least_positives: int = Field(50, gt=0, description="training images that a finding needs, without `labels`")
    augmentation: float = Field(2.0, ge=0, description="multiple of the small changes of gen.data.augment")
    train: TrainConfig


def build_classifier(config: ClassifierConfig, labels: tuple[str, ...], views: tuple[str, ...]) -> RadiographClassifier:
    """A new network as a config asks for it."""
    shape = config.model_dump(exclude={"pretrained"})
    classifier = RadiographClassifier(labels=labels, views=views, **shape)
    if config.pretrained:
        classifier.load_imagenet()
    return classifier


class ClassifierLearner(Learner):
    """A classifier and its images, for the loop. Steps cost network time only: the images are in memory."""

    def __init__(
        self,
        classifier: RadiographClassifier,
        images: LabelledImages,
        held_out: LabelledImages,
        loss: ClassifierLossConfig,
        train: TrainConfig,
        augmentation: float = 2.0,
    ) -> None:
        super().__init__()
        self.images, self.held_out = images, held_out
        self.loss, self.train_config, self.augmentation = loss, train, augmentation
        # this order of bytes is a quarter faster for convolutions on a CPU, and on tensor cores
        self.trained = nn.ModuleDict({"classifier": classifier.to(memory_format=torch.channels_last)})
        self.register_buffer("positive_weight", positive_weights(images.findings, loss.balance))

    def forward(self, batch: dict) -> dict[str, Tensor]:
        """Weighted loss of every question. Shapes: batch["image"] [B, 1, S, S], targets as in LabelledImages."""
        image, _ = augment_batch(batch["image"], self.augmentation)
        return classification_losses(self.trained["classifier"](image), batch, self.loss, self.positive_weight)

    def batches(self, rank: int, world: int, start: int) -> Iterator[dict]:
        """Endless training batches of one rank."""
        train = self.train_config
        for rows in StepBatches(len(self.images), train.batch_size, train.seed, rank, world, start):
            yield self.images.batch([row for row, _ in rows])

    def data_fingerprint(self) -> str:
        """Of the training images and their findings, in their order."""
        return fingerprint(self.images.keys, self.images.findings.nan_to_num(-1).int().tolist())

    def validate(self, trained: nn.ModuleDict, folder: Path) -> dict[str, float]:
        """AUROC of the findings, accuracy of view and sex, error of age."""
        classifier = trained["classifier"]
        return reading_figures(classifier_outputs(classifier, self.held_out), self.held_out, classifier.config.labels)

    def export(self, trained: nn.ModuleDict, folder: Path) -> None:
        """The classifier, its findings' probabilities freed of the positives' extra weight."""
        classifier = trained["classifier"]
        classifier.shift_findings(-self.positive_weight.log())
        classifier.save_pretrained(folder)


def classification_losses(
    outputs: Outputs, targets: dict[str, Tensor], weights: ClassifierLossConfig, positive_weight: Tensor
) -> dict[str, Tensor]:
    """Weighted loss of every question that has a weight, over what is known; 0 where a batch knows nothing."""
    losses = {}
    if weights.findings:
        losses["findings"] = weights.findings * _binary(outputs.findings, targets["findings"], positive_weight)
    if weights.view:
        view = F.cross_entropy(outputs.view, targets["view"], ignore_index=UNKNOWN, reduction="sum")
        losses["view"] = weights.view * view / (targets["view"] != UNKNOWN).sum().clamp_min(1)
    if weights.sex:
        losses["sex"] = weights.sex * _binary(outputs.sex, targets["sex"])
    if weights.child:
        losses["child"] = weights.child * _binary(outputs.child, targets["child"])
    if weights.age:
        age = targets["age"]
        error = F.smooth_l1_loss(outputs.age / AGE_SPREAD, age.nan_to_num() / AGE_SPREAD, beta=0.5, reduction="none")
        losses["age"] = weights.age * _mean_where(error, ~age.isnan())
    return losses


def positive_weights(findings: Tensor, balance: float) -> Tensor:
    """(negatives / positives)^balance of every finding; 1 where a finding has no positives. [N, K] -> [K]."""
    positives, negatives = (findings == 1).sum(0), (findings == 0).sum(0)
    ratio = torch.where(positives > 0, negatives / positives.clamp_min(1), 1.0)
    return ratio.clamp_min(1e-3) ** balance


def _binary(logits: Tensor, targets: Tensor, positive_weight: Tensor | None = None) -> Tensor:
    known = ~targets.isnan()
    error = F.binary_cross_entropy_with_logits(
        logits, targets.nan_to_num(), pos_weight=positive_weight, reduction="none"
    )
    return _mean_where(error, known)


def _mean_where(values: Tensor, chosen: Tensor) -> Tensor:
    return torch.where(chosen, values, 0.0).sum() / chosen.sum().clamp_min(1)
