"""Training that ends when drawings become copies: four images are soon known by heart."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from gen.config import load_config
from gen.data.index import write_index
from gen.engine.loop import Loop
from gen.engine.memorisation import Memorisation
from gen.errors import UserError
from gen.schema import LatentJob
from gen.train import ldm

SIDE = 64
KNOWN = 4
LIMIT = 0.3


def chest(number):
    """Two lungs and a shadow, no two alike."""
    rng = np.random.default_rng(number)
    rows, columns = np.mgrid[:SIDE, :SIDE] / SIDE
    grey = np.full((SIDE, SIDE), 150.0)
    for x, depth in ((0.3, -90), (0.7, -90), (rng.uniform(0.2, 0.8), 60)):
        x, y, width = x + rng.normal(0, 0.05), rng.uniform(0.35, 0.65), rng.uniform(0.008, 0.03)
        grey += depth * np.exp(-((columns - x) ** 2 / width + (rows - y) ** 2 / (3 * width)))
    return Image.fromarray((grey + rng.normal(0, 5, grey.shape)).clip(0, 255).astype(np.uint8))


@pytest.fixture(scope="module")
def few(world, tmp_path_factory):
    """An index of four training images and thirty others."""
    folder = tmp_path_factory.mktemp("few")
    rows = []
    for number in range(KNOWN + 30):
        chest(number).save(folder / f"{number}.png")
        split = "train" if number < KNOWN else "val"
        rows.append({"image": f"{folder}/{number}.png", "patient_id": f"p{number}", "study_id": f"s{number}"})
        rows[-1] |= {"split": split, "view": ("PA", "AP")[number % 2], "sex": "F", "age": 50, "findings": "No Finding"}
    write_index(pd.DataFrame(rows).assign(source="drawn", may_ship=True), folder / "index.csv")
    return folder / "index.csv"


@pytest.fixture
def job(world, few, tmp_path):
    def make(*changes):
        settings = [f"data.index={few}", f"run={tmp_path}/run", f"memorisation={{images: 8, limit: {LIMIT}}}"]
        return load_config(LatentJob, world / "text.yaml", [*settings, "validation_prompts=[]", *changes])

    return make


@pytest.mark.slow
def test_training_ends_when_drawings_are_copies(job, capsys):
    """Held-out loss rises from there on, too; what is exported are the weights of before."""
    train = ["train.steps=3000", "train.validate_every=30", "train.lr_schedule=constant", "train.checkpoint_every=1000"]
    settings = job(*train, "train.warmup_steps=0", "task.drop=0")
    Loop(ldm.LatentLearner(settings), settings, settings.train, settings.run).train()
    lines = [json.loads(line) for line in (settings.run / "metrics.jsonl").read_text().splitlines()]
    figures = [line["validation"] for line in lines if "validation" in line]
    assert 3 <= len(figures) <= 20 and lines[-1]["step"] == 30 * len(figures)
    assert all(found["copies"] <= LIMIT for found in figures[:-1]) and figures[-1]["copies"] > LIMIT
    assert figures[0]["copies"] == 0 and figures[0]["nearness"] > 1 > figures[-1]["nearness"]
    assert figures[-1]["val_loss"] > min(found["val_loss"] for found in figures)
    assert "are copies of training images (limit 0.3)" in capsys.readouterr().out
    summary = json.loads((settings.run / "export" / "run.json").read_text())
    assert summary["figures"] == pytest.approx(figures[-2], rel=1e-4)


def test_copies_are_known_by_their_latents(job):
    """A training image under a little noise is a copy, at any contrast; other images, and mixtures of two, are not."""
    learner = ldm.LatentLearner(job())
    watch: Memorisation = learner.memorisation
    images = torch.stack([learner.dataset.image(row) for row in range(KNOWN)])
    known = learner.codec.sample(learner.codec.moments(images))
    noisy = known + 0.1 * torch.randn(known.shape, generator=torch.Generator().manual_seed(0))
    limit = watch.threshold.threshold
    assert (watch.distances(noisy) < limit).all() and (watch.distances(0.5 * noisy) < limit).all()
    others = torch.stack([learner.held_out.image(row) for row in range(30)])
    assert (watch.distances(learner.codec.sample(learner.codec.moments(others))) >= limit).mean() > 0.9
    assert watch.threshold.held_out_flagged < 0.1


def test_a_model_that_draws_no_copies_may_go_on(job):
    learner = ldm.LatentLearner(job())
    figures = learner.memorisation.figures(learner.pipeline(learner.trained))
    assert figures["copies"] == 0 and figures["nearness"] > 1 and learner.overdone(figures) == ""
    assert "0.5 of the drawings are copies" in learner.overdone({"copies": 0.5})


def test_tasks_that_are_given_radiographs_are_refused(job):
    with pytest.raises(UserError, match="memorisation: drawings of this task should resemble what it is given"):
        job("task={name: view}")


def test_too_few_images_are_refused_at_once(world, job):
    """Not after the hours until the first validation."""
    settings = job(f"data.index={world}/index.csv")
    with pytest.raises(UserError, match="memorisation: 16 images in train and val.*set memorisation=null"):
        ldm.LatentLearner(settings)
