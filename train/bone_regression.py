"""Train a baseline of bone suppression: accelerate launch train/bone_regression.py configs/bone_unet_256.yaml"""

from __future__ import annotations

import sys

import torch

from gen.config import load_job
from gen.engine.bones import BoneRegressionJob, BoneRegressionLearner, Pairs
from gen.engine.loop import Loop
from gen.errors import exit_on_user_error


def main(arguments: list[str]) -> None:
    """Train what a config describes, or go on with it."""
    job = load_job(BoneRegressionJob, "bone_regression.py", arguments)
    pairs, held_out = (Pairs(job.data, split) for split in ("train", "val"))
    torch.manual_seed(job.train.seed)
    learner = BoneRegressionLearner(job.network.build(), pairs, held_out, job.train, job.crop)
    Loop(learner, job, job.train, job.run).train()


if __name__ == "__main__":
    with exit_on_user_error():
        main(sys.argv[1:])
