"""Train what a view model begins with: accelerate launch train/first_view.py configs/first_view_256.yaml"""

from __future__ import annotations

import sys

import torch

from gen.config import load_job
from gen.engine.first_views import FirstViewJob, FirstViewLearner
from gen.engine.loop import Loop
from gen.errors import exit_on_user_error


def main(arguments: list[str]) -> None:
    """Train what a config describes, or go on with it."""
    job = load_job(FirstViewJob, "first_view.py", arguments)
    torch.manual_seed(job.train.seed)
    Loop(FirstViewLearner(job), job, job.train, job.run).train()


if __name__ == "__main__":
    with exit_on_user_error():
        main(sys.argv[1:])
