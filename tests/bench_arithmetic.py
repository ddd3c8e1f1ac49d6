"""Where the time of a drawing and of a training step goes: share of the machine's peak arithmetic, kinds of work.

And memory by batch size, and what a second process brings. `python tests/bench_arithmetic.py`; nothing is judged. The
peak is the best rate of a large matrix product in the same dtype, measured here; operations are counted on the tensors'
shapes, a multiplication and an addition as two.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from bench import PROMPT, RECIPE, Row, report
from bench_models import BATCH, FEW, Stored, few_step_pipeline, job, spent, stored_images, told
from gen.config import load_config
from gen.engine.accounting import account
from gen.engine.loop import Loop
from gen.engine.processes import precision
from gen.models.speed import fastest_dtype
from gen.schema import LatentJob
from gen.train.memory import limits

SIDE = 2048  # of the matrices whose product gives the peak
BATCHES = (1, 4, 16, 64)
TIMED = 8  # steps
ACCELERATE = Path(__file__).parent.parent / "configs" / "accelerate"
KINDS = {
    "convolutions": ("conv",),
    "matrix products": ("mm", "linear", "matmul"),
    "attention": ("scaled_dot_product", "softmax"),
    "norms and activations": ("norm", "silu", "gelu"),
    "copies and layout": ("copy", "cat", "empty", "contiguous", "clone", "shuffle", "index", "upsample", "as_strided"),
    "optimizer": ("adam", "foreach", "lerp"),
}


def peak(dtype: torch.dtype, device: str) -> float:
    """Operations a second of a large matrix product."""
    a, b = torch.randn(2, SIDE, SIDE, device=device).to(dtype)
    return 2 * SIDE**3 / min(spent(lambda: a @ b) for _ in range(3))


def counted(work: Callable[[], object]) -> int:
    """Operations of convolutions, matrix products and attention."""
    with FlopCounterMode(display=False) as counter:
        work()
    return counter.get_total_flops()


def kinds(work: Callable[[], object]) -> dict[str, float]:
    """Shares of a run's time by kind of kernel; what no kernel took is Python and gaps."""
    work()
    began = time.perf_counter()
    with profile(activities=[ProfilerActivity.CPU]) as profiled:
        work()
    whole, found = time.perf_counter() - began, dict.fromkeys((*KINDS, "other kernels"), 0.0)
    for event in profiled.key_averages():
        name = event.key.lower()
        if not name.startswith("aten::"):
            continue
        kind = next((kind for kind, words in KINDS.items() if any(word in name for word in words)), "other kernels")
        found[kind] += event.self_cpu_time_total / 1e6
    return {name: seconds / whole for name, seconds in found.items()}


def shares(what: str, work: Callable[[], object], dtype: torch.dtype, device: str) -> Iterator[Row]:
    """How near a run comes to the peak, and by kind of work why no nearer."""
    operations, seconds, best = counted(work), spent(work), peak(dtype, device)
    print(f"{what}: {operations / 1e9:.1f} GFLOP in {seconds:.3f} s; the peak is {best / 1e9:.0f} GFLOP/s")
    yield f"{what}, share of peak", operations / seconds / best, None
    if device == "cpu":
        for kind, share in kinds(work).items():
            yield f"  {kind}", share, None


def drawing() -> Iterator[Row]:
    """Four steps and the decoder."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    for dtype in dict.fromkeys((fastest_dtype(device), torch.float32)):
        ours = few_step_pipeline(dtype).to(device)
        draw = lambda ours=ours: ours([PROMPT] * BATCH, steps=FEW, guidance=2.0, progress=False)  # noqa: E731
        yield from shares(f"4 steps, {told(dtype)}", draw, dtype, device)


def training() -> Iterator[Row]:
    """A step of the shipped text model's recipe."""
    settings, cuda = job(), torch.cuda.is_available()
    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(precision("auto", not cuda), torch.float32)
    with tempfile.TemporaryDirectory() as folder:
        learner = Stored(settings, stored_images(Path(folder) / "moments"))
        loop = Loop(learner, settings, settings.train, Path(folder) / "run", cpu=not cuda)
        batches = learner.batches(0, 1, 0)
        step = lambda: loop.step(batches)  # noqa: E731
        yield from shares(f"training step, {told(dtype)}", step, dtype, "cuda" if cuda else "cpu")


def memory() -> Iterator[Row]:
    """Gigabytes of sampling and of training by batch size, counted as train/memory.py does."""
    found = account(load_config(LatentJob, RECIPE, ["text.model=null", "codec=gen/weights/text_256/vae"]))
    for batch in BATCHES:
        drawn = found.sampling_weights + max(found.denoising.at(batch), found.decoding.at(batch))
        yield f"sampling, float16, batch {batch}: GB", drawn / 1e9, None
        yield f"training, adamw, batch {batch}: GB", found.training(batch, False, "adamw") / 1e9, None
    print("\n".join(limits(found)))


def scaling() -> Iterator[Row]:
    """Images a second of two processes over gloo against one, each with a thread."""
    if torch.cuda.is_available() or (os.cpu_count() or 1) < 2:
        return
    rates = {}
    with tempfile.TemporaryDirectory() as folder:
        for kind in ("cpu", "cpu2"):
            launch = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", f"{ACCELERATE}/{kind}.yaml"]
            surroundings = {**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
            command = [*launch, __file__, "--steps", f"{folder}/{kind}"]
            done = subprocess.run(command, env=surroundings, capture_output=True, text=True, check=True)
            rates[kind] = float(done.stdout.split()[-1])
    print(f"training, images a second: one process {rates['cpu']:.1f}, two {rates['cpu2']:.1f}")
    yield "training, two processes / one", rates["cpu2"] / rates["cpu"], None


def steps(folder: Path) -> None:
    """What each process of `scaling` runs; the first one prints images a second of all."""
    settings = job()
    with tempfile.TemporaryDirectory() as own:
        learner = Stored(settings, stored_images(Path(own) / "moments"))
        loop = Loop(learner, settings, settings.train, folder / "run", cpu=True)
        accelerator = loop.accelerator
        batches = learner.batches(accelerator.process_index, accelerator.num_processes, 0)
        loop.step(batches)
        accelerator.wait_for_everyone()
        began = time.perf_counter()
        for _ in range(TIMED):
            loop.step(batches)
        accelerator.wait_for_everyone()
        seconds = time.perf_counter() - began
    if loop.main:
        print(accelerator.num_processes * settings.train.batch_size * TIMED / seconds, flush=True)
    accelerator.end_training()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--steps"]:
        sys.exit(steps(Path(sys.argv[2])))
    sys.exit(report((drawing, training, scaling, memory), "bench_arithmetic.json"))
