"""Count the memory that a recipe takes, and what fits: python train/memory.py configs/text_512.yaml [key=value ...]"""

from __future__ import annotations

import sys

from gen.config import load_job
from gen.engine.accounting import RESERVED, Account, account
from gen.errors import exit_on_user_error
from gen.schema import LatentJob

MIB, GIB = 2**20, 2**30
GPUS = (8, 16, 24)  # GiB
SIDES = (256, 512, 1024)  # pixels
WAYS = ((False, "adamw"), (True, "adamw"), (False, "adamw8bit"), (True, "adamw8bit"))  # checkpointing, optimizer


def sums(job: LatentJob, counted: Account) -> list[str]:
    """What one step of the recipe takes, part by part."""
    batch, precision = job.train.batch_size, job.train.mixed_precision
    rows = [("weights", counted.weights), ("gradients", counted.gradients), ("averaged weights", counted.averages)]
    rows += [(f"optimizer state, {name}", size) for name, size in counted.optimizer.items()]
    for checkpointing, curve in counted.activations.items():
        rows.append((f"activations, batch {batch}, {precision}{_kind(checkpointing)}", curve.at(batch)))
    rows += [(f"all, {name}{_kind(way)}", counted.training(batch, way, name)) for way, name in WAYS]
    return [f"{name:58}{size / MIB:9.0f} MiB" for name, size in rows]


def limits(counted: Account) -> list[str]:
    """Largest batches by GPU, for sampling with guidance in float16 and for training."""
    lines = [f"{'largest batch in':58}" + "".join(f"{size:6} GB" for size in GPUS)]
    for side in SIDES:
        for low in (False, True):
            fitting = [counted.largest_sampling(size * GIB, side, low) for size in GPUS]
            lines.append(_line(f"sampling, {side} px{', low memory' * low}", fitting))
    for side in SIDES:
        for way, name in WAYS:
            fitting = [counted.largest_training(size * GIB, side, way, name) for size in GPUS]
            lines.append(_line(f"training, {side} px, {name}{_kind(way)}", fitting))
    return lines


def _line(name: str, fitting: list[int]) -> str:
    return f"{name:58}" + "".join(f"{number or '-':>9}" for number in fitting)


def _kind(checkpointing: bool) -> str:
    return ", checkpointed" * checkpointing


def main(arguments: list[str]) -> None:
    """Print the account of a recipe."""
    job = load_job(LatentJob, "memory.py", arguments)
    counted = account(job)
    said = [f"{arguments[0]}: {job.data.resolution} px", *counted.notes, *sums(job, counted), *limits(counted)]
    said.append(f"{RESERVED // MIB} MiB of each GPU are left for its driver, workspaces of libraries and gaps.")
    print("\n".join(said))


if __name__ == "__main__":
    with exit_on_user_error():
        main(sys.argv[1:])
