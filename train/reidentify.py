"""Train a network that knows patients again: accelerate launch train/reidentify.py configs/reidentify_128.yaml"""

from __future__ import annotations

import sys

import torch

from gen.config import load_job
from gen.data.dataset import load_rows
from gen.data.labelled import LabelledImages, load_labelled
from gen.engine.loop import Loop
from gen.engine.reidentification import ReidentificationJob, ReidentificationLearner
from gen.errors import UserError, exit_on_user_error
from gen.judges.reader import Reader
from gen.models.reidentifier import ReidentificationNetwork


def network_of(job: ReidentificationJob) -> ReidentificationNetwork:
    """A new network, its backbone that of a reader where one is named. Errors: UserError for one of another shape."""
    network = ReidentificationNetwork(**job.network.model_dump())
    if job.reader is not None:
        try:
            network.trunk.load_state_dict(Reader.load(job.reader).classifier.trunk.state_dict())
        except RuntimeError:
            raise UserError(f"reader {job.reader}: another backbone than network; give both the same widths") from None
    return network


def learner_of(job: ReidentificationJob) -> ReidentificationLearner:
    """The images in memory and a new network."""

    def load(split: str) -> LabelledImages:
        return load_labelled(load_rows(job.data, split), (), (), job.data.resolution)

    images, held_out = load("train"), load("val")
    torch.manual_seed(job.train.seed)
    return ReidentificationLearner(network_of(job), images, held_out, job)


def main(arguments: list[str]) -> None:
    """Train what a config describes, or go on with it."""
    job = load_job(ReidentificationJob, "reidentify.py", arguments)
    Loop(learner_of(job), job, job.train, job.run).train()


if __name__ == "__main__":
    with exit_on_user_error():
        main(sys.argv[1:])
