"""Learning to tell bright from dark, losses against their closed forms, and figures against scikit-learn."""

import math

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score
from torch.nn import functional as F

from gen.data.labelled import LabelledImages
from gen.engine.classification import (
    ClassifierConfig,
    ClassifierLearner,
    ClassifierLossConfig,
    build_classifier,
    classification_losses,
    positive_weights,
)
from gen.engine.loop import Loop
from gen.engine.reading import auroc, auroc_interval, classifier_outputs, reading_figures
from gen.errors import UserError
from gen.judges.reader import Reader
from gen.models.classifier import Outputs
from gen.schema import TrainConfig

LABELS, VIEWS = ("No Finding", "Mass"), ("PA", "AP")
NETWORK = {"widths": (8, 16), "blocks": (1, 1), "features": 16, "resolution": 32, "dropout": 0.0}
LOSS = ClassifierLossConfig(findings=1, view=1, sex=1, child=1, age=1, balance=1)


def spots(count, seed=0):
    """Images with a bright spot on one side or the other, which decides on every target; every third is unknown."""
    rng = np.random.default_rng(seed)
    side = torch.from_numpy(rng.integers(2, size=count))
    images = torch.from_numpy(rng.integers(0, 60, (count, 1, 32, 32), dtype=np.uint8))
    for image, where in zip(images, side.tolist(), strict=True):
        image[0, 10:22, 18 * where + 2 : 18 * where + 12] += 150
    told = torch.where(torch.arange(count) % 3 == 0, torch.nan, side.float())
    view = torch.where(told.isnan(), -1, side)
    findings = torch.stack([1 - told, told], 1)
    names = [str(number) for number in range(count)]
    return LabelledImages(images, findings, view, told, 1 - told, 20 + 40 * told, names, names)


def learner(tmp_path, **changes):
    values = {"steps": 30, "batch_size": 16, "learning_rate": 3e-3, "lr_schedule": "constant", "ema_decay": 0.9}
    train = TrainConfig(**values | changes)
    torch.manual_seed(0)
    classifier = build_classifier(ClassifierConfig(**NETWORK), LABELS, VIEWS)
    return ClassifierLearner(classifier, spots(48), spots(30, seed=1), LOSS, train, augmentation=0.5)


def run(one, folder):
    return Loop(one, one.loss, one.train_config, folder, cpu=True).train()


def test_learns_every_question_and_exports_a_reader(tmp_path):
    one = learner(tmp_path)
    export = run(one, tmp_path / "run")
    reading = Reader.load(export).read(one.held_out.images.float() / 127.5 - 1)
    told = ~one.held_out.sex.isnan()
    assert reading.age.shape == (30,) and told.sum() == 20
    figures = reading_figures(classifier_outputs(Reader.load(export).classifier, one.held_out), one.held_out, LABELS)
    assert figures["auroc"] > 0.95 and figures["view_right"] > 0.9 and figures["sex_right"] > 0.9
    assert figures["auroc Mass"] > 0.95 and figures["age_error"] < 15


def test_goes_on_as_if_never_stopped(tmp_path):
    whole = run(learner(tmp_path, steps=8, checkpoint_every=4), tmp_path / "whole")
    part = learner(tmp_path, steps=8, checkpoint_every=4)
    loop = Loop(part, part.loss, part.train_config, tmp_path / "part", cpu=True)
    batches = part.batches(0, 1, 0)
    for _ in range(4):
        loop.step(batches)
        loop.progress["step"] += 1
    loop._save()
    resumed = run(learner(tmp_path, steps=8, checkpoint_every=4), tmp_path / "part")
    images = spots(6).images.float() / 127.5 - 1
    assert torch.equal(Reader.load(whole).read(images).features, Reader.load(resumed).read(images).features)


def test_losses_are_over_what_is_known():
    logits = torch.tensor([[1.0, -2.0], [0.5, 3.0]])
    outputs = Outputs(logits, logits, logits[:, 0], logits[:, 1], torch.tensor([30.0, 60.0]), logits)
    nan = math.nan
    targets = {
        "findings": torch.tensor([[1.0, nan], [0.0, 1.0]]),
        "view": torch.tensor([-1, 1]),
        "sex": torch.tensor([nan, nan]),
        "child": torch.tensor([1.0, nan]),
        "age": torch.tensor([nan, 40.0]),
    }
    weights = ClassifierLossConfig(findings=2, view=1, sex=1, child=1, age=3)
    losses = classification_losses(outputs, targets, weights, torch.tensor([4.0, 1.0]))
    softplus = lambda value: math.log1p(math.exp(value))  # noqa: E731
    findings = (4 * softplus(-1) + softplus(0.5) + softplus(-3)) / 3
    assert losses["findings"].item() == pytest.approx(2 * findings, rel=1e-5)
    assert losses["view"].item() == pytest.approx(F.cross_entropy(logits[1:], torch.tensor([1])).item())
    assert losses["sex"] == 0 and losses["child"].item() == pytest.approx(softplus(2.0), rel=1e-5)
    assert losses["age"].item() == pytest.approx(3 * (1 - 0.25), rel=1e-5)  # one unit of 20 years, beta a half
    assert set(classification_losses(outputs, targets, ClassifierLossConfig(), torch.ones(2))) == {"findings"}


def test_positive_weights():
    findings = torch.tensor([[1.0, 0.0, math.nan], [0.0, 0.0, 1.0], [0.0, 0.0, 1.0], [0.0, math.nan, 0.0]])
    assert positive_weights(findings, 1).tolist() == [3, 1, 0.5]
    torch.testing.assert_close(positive_weights(findings, 0.5), torch.tensor([3**0.5, 1, 0.5**0.5]))


def test_auroc_and_its_interval():
    rng = np.random.default_rng(0)
    truth = (rng.random(200) < 0.3).astype(float)
    scores = np.round(truth + rng.normal(size=200), 1)  # with ties
    assert auroc(scores, truth) == pytest.approx(roc_auc_score(truth, scores))
    hidden = np.where(np.arange(200) % 2, truth, np.nan)
    assert auroc(scores, hidden) == pytest.approx(roc_auc_score(truth[1::2], scores[1::2]))
    assert math.isnan(auroc(scores, np.ones(200)))
    alone = auroc_interval(scores, truth, [str(row) for row in range(200)])
    in_pairs = auroc_interval(np.repeat(scores, 4), np.repeat(truth, 4), [str(row // 4) for row in range(800)])
    assert alone[0] < auroc(scores, truth) < alone[1]
    assert in_pairs == pytest.approx(alone, abs=0.02)  # copies of a patient add no certainty


@pytest.mark.parametrize(("backbone", "resolution"), [("resnet10t", 32), ("vit_tiny_patch16_224", 32)])
def test_backbones_of_timm(backbone, resolution, tmp_path):
    config = ClassifierConfig(backbone=backbone, features=8, resolution=resolution)
    build_classifier(config, LABELS, VIEWS).save_pretrained(tmp_path)
    reading = Reader.load(tmp_path).read(torch.rand(2, 1, 40, 40) * 2 - 1)
    assert reading.findings.shape == (2, 2) and reading.features.shape == (2, 8)


def test_an_unknown_backbone_is_named():
    with pytest.raises(UserError, match="backbone 'resnet5000'.*resnet"):
        build_classifier(ClassifierConfig(backbone="resnet5000", resolution=32), LABELS, VIEWS)
