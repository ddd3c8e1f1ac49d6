"""Train a classifier: accelerate launch train/classifier.py configs/reader_128.yaml [key=value ...]"""

from __future__ import annotations

import sys

import pandas as pd
import torch

from gen.config import load_job
from gen.data.dataset import load_rows
from gen.data.index import read_index
from gen.data.labelled import LEAST, LabelledImages, frequent_labels, known_by_source, load_labelled
from gen.engine.classification import ClassifierJob, ClassifierLearner, build_classifier
from gen.engine.loop import Loop
from gen.errors import exit_on_user_error


def learner_of(job: ClassifierJob) -> ClassifierLearner:
    """The images in memory and a new network."""
    rows = load_rows(job.data, "train")
    known = known_by_source(rows, min(job.least_positives, LEAST))
    labels = frequent_labels(rows, known, job.least_positives) if job.labels is None else job.labels

    def load(part: pd.DataFrame, spoken: dict) -> LabelledImages:
        return load_labelled(part, labels, job.views, job.data.resolution, spoken)

    images, held_out = load(rows, known), load(load_rows(job.data, "val"), known)
    if job.view_index is not None:
        # of a phantom only its view counts: the rest of its truth looks unlike that of people
        drawn = read_index(job.view_index).drop(columns=["sex", "age", "age_group"], errors="ignore")
        images = images + load(drawn, {})
    torch.manual_seed(job.train.seed)
    classifier = build_classifier(job.network, labels, job.views)
    return ClassifierLearner(classifier, images, held_out, job.loss, job.train, job.augmentation)


def main(arguments: list[str]) -> None:
    """Train what a config describes, or go on with it."""
    job = load_job(ClassifierJob, "classifier.py", arguments)
    Loop(learner_of(job), job, job.train, job.run).train()


if __name__ == "__main__":
    with exit_on_user_error():
        main(sys.argv[1:])
