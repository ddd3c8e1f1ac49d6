"""Learning whose image it is: a pattern a patient under changing brightness, told apart on patients never seen."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from gen.data.labelled import UNKNOWN, LabelledImages
from gen.engine.loop import Loop
from gen.engine.reidentification import ReidentificationJob, ReidentificationLearner, verification_figures
from gen.errors import UserError
from gen.judges.reidentifier import Reidentifier
from gen.models.reidentifier import ReidentificationNetwork, patient_contrast

NETWORK = {"widths": (8, 16, 32), "blocks": (1, 1, 1), "features": 16, "resolution": 32}


def patterns(patients, each, first=0):
    """`each` images of every patient: a coarse pattern of their own, with another contrast and noise each time."""
    pictures = []
    for patient in range(first, first + patients):
        own = gaussian_filter(np.random.default_rng(patient).normal(size=(32, 32)), 4) * 12
        for time in range(each):
            rng = np.random.default_rng([patient, time])
            pictures.append(127 + rng.uniform(25, 45) * own + rng.normal(0, 12, (32, 32)))
    count = len(pictures)
    unknown = torch.full((count,), torch.nan)
    return LabelledImages(
        images=torch.from_numpy(np.clip(pictures, 0, 255).astype(np.uint8))[:, None],
        findings=torch.zeros(count, 0),
        view=torch.full((count,), UNKNOWN),
        sex=unknown,
        child=unknown,
        age=unknown,
        keys=[f"{first}-{number}" for number in range(count)],
        patients=[f"p{first + number // each}" for number in range(count)],
    )


def job_of(folder, steps=60):
    train = {"steps": steps, "batch_size": 16, "learning_rate": 3e-3, "lr_schedule": "cosine", "ema_decay": 0.9}
    return ReidentificationJob(
        run=folder,
        data={"index": "index.parquet", "resolution": 32},
        network=NETWORK,
        temperature=0.1,
        augmentation=0,
        train=train | {"checkpoint_every": steps, "mixed_precision": "no"},
    )


def learner_of(images, held_out, job):
    torch.manual_seed(0)
    return ReidentificationLearner(ReidentificationNetwork(**NETWORK), images, held_out, job)


def test_patients_never_seen_are_told_apart(tmp_path):
    job, held_out = job_of(tmp_path / "run"), patterns(20, 2, first=1000)
    export = Loop(learner_of(patterns(60, 3), held_out, job), job, job.train, job.run).train()
    figures = verification_figures(Reidentifier.load(export), held_out)
    assert figures["auroc"] > 0.9 and figures["recognised"] > 0.5 and figures["patients"] == 20


def test_the_loss_is_its_closed_form():
    vectors = torch.nn.functional.normalize(torch.randn(4, 3, generator=torch.Generator().manual_seed(0)), dim=1)
    patients = torch.tensor([0, 1, 0, 1])
    scores = (vectors @ vectors.T / 0.5).exp()
    partners = [2, 3, 0, 1]
    wanted = [-(scores[a, b] / (scores[a].sum() - scores[a, a])).log() for a, b in enumerate(partners)]
    torch.testing.assert_close(patient_contrast(vectors, patients, 0.5), torch.stack(wanted).mean())


def test_a_batch_holds_pairs_of_one_patient_and_two_images_where_there_are_two(tmp_path):
    images = patterns(10, 2) + patterns(10, 1, first=50)
    batch = next(learner_of(images, images, job_of(tmp_path)).batches(0, 1, 0))
    assert batch["image"].shape == (32, 1, 32, 32) and batch["patient"].tolist()[::2] == batch["patient"].tolist()[1::2]
    first, second = batch["key"][::2], batch["key"][1::2]
    for patient, a, b in zip(batch["patient"].tolist()[::2], first, second, strict=True):
        assert (a == b) is (patient >= 10)


def test_single_images_only_are_refused(tmp_path):
    with pytest.raises(UserError, match="two images"):
        learner_of(patterns(5, 1), patterns(5, 1), job_of(tmp_path))
