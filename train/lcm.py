"""Distil a trained pipeline to few steps: accelerate launch train/lcm.py configs/lcm_256.yaml [key=value ...]"""

from __future__ import annotations

import sys

import torch

from gen.config import load_job
from gen.engine.distillation import DistillationJob, DistillationLearner
from gen.engine.loop import Loop
from gen.errors import exit_on_user_error


def main(arguments: list[str]) -> None:
    """Distil what a config describes, or go on with it."""
    job = load_job(DistillationJob, "lcm.py", arguments)
    torch.manual_seed(job.train.seed)
    Loop(DistillationLearner(job), job, job.train, job.run).train()


if __name__ == "__main__":
    with exit_on_user_error():
        main(sys.argv[1:])
