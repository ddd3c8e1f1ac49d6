"""What a set of up to a million images costs besides its model: `python tests/bench_sets.py [largest]`.

Every phase runs in a process of its own with a model that draws nothing, and prints its wall and processor seconds and
its largest resident memory. Exit code 1 where a million rows would take over a minute or a gigabyte, where cost grows
faster than the number of rows, or where two processes are less than 1.8 times as quick as one.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np

SIZES = (1_000, 10_000, 100_000, 1_000_000)
PHASES = ("plan", "split", "draw", "resume", "verify")
LIMITED = ("plan", "split", "resume", "verify")  # the null model's own drawing is no promise
LONGEST, LARGEST = 60.0, 1.0  # processor seconds, GB, of a million rows
STEEPEST = 1.3  # cost a row at the largest size over cost a row a tenth of it
PAIR, SPEED_UP, WORK = 1_500, 1.8, 0.005  # WORK: processor seconds an image, a hundredth of the shipped model's


class NullPipeline:
    """Draws a grey square for everything: what is left is the machinery."""

    config = SimpleNamespace(name="null", steps=1, guidance=1.0)
    model_hash, dtype, scheduler, execution = "none", "none", None, ""
    _execution_device = SimpleNamespace(type="cpu")
    square = np.full((8, 8), 0.5, np.float32)

    def __call__(self, prompts, seed, steps, guidance, output_type, progress):
        from gen.provenance import SynthesisRecord

        pairs = zip(prompts, seed, strict=True)
        records = [SynthesisRecord(text, number, 1, 1.0, "none", "null", "none") for text, number in pairs]
        return SimpleNamespace(images=[self.square] * len(records), records=records)


class BusyPipeline(NullPipeline):
    """Takes its time, as a model does."""

    def __call__(self, prompts, seed, steps, guidance, output_type, progress):
        until = time.process_time() + WORK * len(prompts)
        while time.process_time() < until:
            self.square.sum()
        return super().__call__(prompts, seed, steps, guidance, output_type, progress)


def phase_plan(folder: Path, size: int) -> None:
    from gen.sample.planning import Recipe, conditions, write_plan

    groups = [("Cardiomegaly", "PA|AP", "M|F", "18-40|40-90"), ("Edema;Pleural Effusion", "AP", "M|F", "40-90")]
    rows = [f"{size // 2},{','.join(group)}" for group in groups]
    (folder / "target.csv").write_text("n,findings,view,sex,age\n" + "\n".join(rows) + "\n")
    recipe = Recipe(target=folder / "target.csv")
    write_plan(conditions(recipe), recipe, folder / "plan.parquet")


def worker(folder: Path, shard: str = "1/1", out: str = "set", pipeline: type[NullPipeline] = NullPipeline):
    from gen.sample.job import Order, Worker
    from gen.sample.plan import read_plan
    from gen.sample.split import parse_shard
    from gen.sample.store import open_store

    batch = 250 if pipeline is NullPipeline else 10  # the last one of a shard is filled up, which costs what it costs
    order = Order("parquet", batch_size=batch, per_file=10_000)
    plan, store = read_plan(folder / "plan.parquet"), open_store(folder / out)
    return Worker(pipeline(), plan, store, order, parse_shard(shard))


def phase_split(folder: Path, size: int) -> None:
    from gen.sample.resume import state

    one = worker(folder, "3/64")
    mine = state(one.store, one.plan, one.shard)
    assert mine.total == len(mine.todo) and abs(mine.total / size - 1 / 64) < 0.02


def phase_draw(folder: Path, size: int) -> None:
    assert worker(folder).draw().complete


def phase_resume(folder: Path, size: int) -> None:
    outcome = worker(folder).draw()
    assert outcome.complete and outcome.done == size


def phase_verify(folder: Path, size: int) -> None:
    from gen.sample.resume import stored_plan
    from gen.sample.store import open_store
    from gen.sample.verify import verify

    store = open_store(folder / "set")
    proof = verify(store, stored_plan(store))
    assert proof.accepted == size and not proof.wrong


def phase_alone(folder: Path, size: int) -> None:
    assert worker(folder, "1/1", "one", BusyPipeline).draw().complete


def phase_first(folder: Path, size: int) -> None:
    assert worker(folder, "1/2", "two", BusyPipeline).draw().done > 0


def phase_second(folder: Path, size: int) -> None:
    assert worker(folder, "2/2", "two", BusyPipeline).draw().done > 0


def measured(phase: str, folder: Path, size: int) -> subprocess.Popen:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    command = [sys.executable, __file__, "phase", phase, str(folder), str(size)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)


def result(process: subprocess.Popen) -> dict[str, float]:
    out, _ = process.communicate()
    if process.returncode:
        raise SystemExit(f"{' '.join(process.args[2:])} failed")
    return json.loads(out.splitlines()[-1])


def run_phase(phase: str, folder: Path, size: int) -> None:
    """Measure one phase in this process; imports do not count, memory does."""
    import gen.sample.engines
    import gen.sample.planning  # noqa: F401

    if phase not in LIMITED:
        import torch  # noqa: F401

    wall, processor = time.perf_counter(), time.process_time()
    globals()[f"phase_{phase}"](folder, size)
    figures = {"wall": time.perf_counter() - wall, "processor": time.process_time() - processor}
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    print(json.dumps({**figures, "memory": memory}))


def table(largest: int) -> int:
    """Print a line a size and phase; the number of promises that are broken."""
    print(f"{'rows':>9}  {'phase':8}{'wall s':>9}{'cpu s':>9}{'us a row':>10}{'GB':>7}")
    cost: dict[tuple[str, int], float] = {}
    broken = 0
    for size in (size for size in SIZES if size <= largest):
        with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR")) as folder:
            for phase in PHASES:
                figures = result(measured(phase, Path(folder), size))
                cost[phase, size] = figures["processor"] / size
                fine = phase not in LIMITED or (figures["memory"] < LARGEST and figures["processor"] < LONGEST)
                steep = cost[phase, size] / cost.get((phase, size // 10), 1.0) if size > 10_000 else 0.0
                fine = fine and steep < STEEPEST
                broken += not fine
                numbers = f"{figures['wall']:9.2f}{figures['processor']:9.2f}{cost[phase, size] * 1e6:10.1f}"
                print(f"{size:9}  {phase:8}{numbers}{figures['memory']:7.2f}  {'PASS' if fine else 'FAIL'}", flush=True)
    return broken


def pair(size: int = PAIR) -> int:
    """One process against two that share the plan; processor time is what each would take on a core of its own."""
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR")) as name:
        folder = Path(name)
        result(measured("plan", folder, size))
        one = result(measured("alone", folder, size))
        both = [measured(phase, folder, size) for phase in ("first", "second")]
        two = [result(process) for process in both]
    by_clock = one["wall"] / max(figures["wall"] for figures in two)
    by_processor = one["processor"] / max(figures["processor"] for figures in two)
    fine = by_processor >= SPEED_UP
    what = f"two processes on {size} images of {WORK * 1000:.0f} ms"
    print(f"{what}: {by_clock:.2f} times one by the clock, {by_processor:.2f} by processor time")
    limit = f"limit {SPEED_UP} by processor time, for the clock also counts what else the machine does"
    print(f"{limit}: {'PASS' if fine else 'FAIL'}")
    return int(not fine)


if __name__ == "__main__":
    if sys.argv[1:2] == ["phase"]:
        run_phase(sys.argv[2], Path(sys.argv[3]), int(sys.argv[4]))
    else:
        sys.exit(min(1, table(int(sys.argv[1]) if len(sys.argv) > 1 else SIZES[-1]) + pair()))
