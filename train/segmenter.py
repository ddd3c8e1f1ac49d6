"""Train the lung segmenter: accelerate launch train/segmenter.py configs/lungs_256.yaml [key=value ...]"""

from __future__ import annotations

import sys

import torch

from gen.config import load_job
from gen.data.dataset import load_rows
from gen.data.segmented import load_segmented
from gen.engine.loop import Loop
from gen.engine.segmentation import SegmenterJob, SegmenterLearner, load_phantoms
from gen.errors import exit_on_user_error
from gen.models.segmenter import ChestSegmenter


def learner_of(job: SegmenterJob) -> SegmenterLearner:
    """The images in memory and a new network."""
    side = job.network.resolution
    images = load_segmented(job.data.index, load_rows(job.data, "train"), side).repeated(job.real_repeats)
    held_out = load_segmented(job.data.index, load_rows(job.data, "val"), side)
    if job.phantom is not None:
        images = images + load_phantoms(job.phantom, side)
    torch.manual_seed(job.train.seed)
    return SegmenterLearner(ChestSegmenter(**job.network.model_dump()), images, held_out, job.train, job.augmentation)


def main(arguments: list[str]) -> None:
    """Train what a config describes, or go on with it."""
    job = load_job(SegmenterJob, "segmenter.py", arguments)
    Loop(learner_of(job), job, job.train, job.run).train()


if __name__ == "__main__":
    with exit_on_user_error():
        main(sys.argv[1:])
