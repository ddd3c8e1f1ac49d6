"""Train a coder of studies for view models: accelerate launch train/study_code.py configs/study_code_256.yaml"""

from __future__ import annotations

import sys

import torch

from gen.config import load_job
from gen.engine.loop import Loop
from gen.engine.study_codes import StudyCodeJob, StudyCodeLearner
from gen.errors import exit_on_user_error


def main(arguments: list[str]) -> None:
    """Train what a config describes, or go on with it."""
    job = load_job(StudyCodeJob, "study_code.py", arguments)
    torch.manual_seed(job.train.seed)
    Loop(StudyCodeLearner(job), job, job.train, job.run).train()


if __name__ == "__main__":
    with exit_on_user_error():
        main(sys.argv[1:])
