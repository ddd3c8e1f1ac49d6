"""The same share of a plan carried out here, or as tasks of a Ray cluster (extra [ray])."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

from gen.choices import Attention, Compile
from gen.errors import UserError

from .job import Order, Outcome, Worker
from .models import Device, Dtype, load_pipeline
from .plan import read_plan
from .split import Shard
from .store import open_store

TRIES = 3  # of a task whose machine went away; it goes on where that one stopped


@dataclass(frozen=True)
class Assignment:
    """Everything a process anywhere needs to know to draw its shard: names and numbers only."""

    plan: Path
    out: str
    order: Order
    model: str | None = None
    revision: str | None = None
    device: Device = "auto"
    dtype: Dtype = "auto"
    attention: Attention = "sdpa"
    compiled: Compile = "off"
    low_memory: bool = False


def carry_out(work: Assignment, shard: Shard) -> Outcome:
    """Draw one shard in this process."""
    plan, store = read_plan(work.plan), open_store(work.out)
    where, how = (work.device, work.dtype), (work.attention, work.compiled, work.low_memory)
    pipeline = load_pipeline(work.model, work.revision, *where, *how)
    gates = work.order.gating.load(str(pipeline._execution_device)) if work.order.gating.names else ()
    return Worker(pipeline, plan, store, work.order, shard, gates).draw()


def carry_out_with_ray(work: Assignment, workers: int | None = None) -> Outcome:
    """Draw a plan as Ray tasks, one a shard: on the cluster that RAY_ADDRESS names, else on this machine.

    A task takes a processor, and a GPU where the cluster has some; machines may come and go. The plan and the output
    have to be where every machine sees them. `workers`: shards, one for each GPU or processor if None.
    Errors: UserError where Ray is not installed, and those of the tasks.
    """
    from tqdm import tqdm

    ray = _started_ray()
    work = replace(work, out=_absolute(work.out), model=work.model and _absolute(work.model))  # tasks run elsewhere
    gpus = int(ray.cluster_resources().get("GPU", 0)) if work.device != "cpu" else 0
    count = workers or gpus or int(ray.cluster_resources()["CPU"])
    task = ray.remote(num_cpus=1, num_gpus=int(gpus > 0), max_retries=TRIES)(carry_out)
    waiting = [task.remote(work, Shard(number, count)) for number in range(1, count + 1)]
    outcomes: list[Outcome] = []
    with tqdm(total=count, unit="shard") as bar:
        while waiting:
            ready, waiting = ray.wait(waiting)
            outcomes += [_result(ray, reference) for reference in ready]
            bar.update(len(ready))
    done, total = (sum(getattr(outcome, name) for outcome in outcomes) for name in ("done", "total"))
    whole = any(outcome.complete for outcome in outcomes)
    if done == total and not whole and "duplicates" in work.order.gating.names:
        return _result(ray, task.remote(work, Shard()))  # no lock told a task that it was the last one
    return Outcome(done, total, whole)


def _absolute(place: str) -> str:
    """A path of this machine made absolute; addresses and hub ids as they are."""
    return place if "://" in place or not Path(place).parent.exists() else str(Path(place).absolute())


def _started_ray():
    try:
        import ray
    except ImportError:
        raise UserError("--engine ray needs Ray; install it with: pip install 'cxr-gen[ray]'") from None
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is sent anywhere unless a user wants it
    if not ray.is_initialized():
        ray.init(include_dashboard=False, log_to_driver=False)
    return ray


def _result(ray, reference) -> Outcome:
    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, UserError):
            raise UserError(str(error.cause)) from None
        raise
