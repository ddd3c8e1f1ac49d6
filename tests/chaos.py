"""Faults on the real program: python tests/chaos.py [--kills 200] [--freeze 60] [--workers 2] [--seed 0] [--only NAME]

Kills plan, run, cache, train and export at random moments with SIGKILL and runs the same command again; then fills the
disk, takes write access away, damages files, starts a run twice, freezes a worker, sends SIGTERM, lets the clock jump
and runs out of memory. After each: every image once and as an undisturbed run has it, `cxr-sample verify` agrees, no
temporary file is left or taken for a result, and training repeats losses and weights to the last bit. Prints counts;
ends with code 1 on a fault. Commands run in forked children, so that each starts at once; the code is the command's.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import re
import runpy
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[1]
SIDE, IMAGES = 64, 18
PLANNED = 20
FORMATS = ("png", "webdataset", "parquet")
TEMPORARY = ("*.tmp", "*.partial", "partial-*", "heading*")
LIMIT = 600  # seconds that a command may take on a loaded machine


class Wrong(Exception):
    """A promise that was not kept."""


def check(kept: bool, promise: str) -> None:
    """Raise Wrong unless a promise was kept."""
    if not kept:
        raise Wrong(promise)


# ---- commands in forked children ----------------------------------------------------------------------------------


@dataclass
class Child:
    """A command that runs: its process, and the file of what it says."""

    pid: int
    log: Path
    code: int | None = None

    def wait(self, limit: float = LIMIT) -> int:
        """Its exit code, negative for a signal."""
        until = time.monotonic() + limit
        while self.poll() is None:
            if time.monotonic() > until:
                os.kill(self.pid, signal.SIGKILL)
                raise Wrong(f"still running after {limit:.0f} s: {self.said()[-300:]}")
            time.sleep(0.01)
        return int(self.code or 0)

    def poll(self) -> int | None:
        """Its exit code, None while it runs."""
        if self.code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self.code = os.waitstatus_to_exitcode(status) if pid else None
        return self.code

    def signal(self, number: int) -> None:
        """Send a signal, if it still runs."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def said(self) -> str:
        """What it wrote to both streams."""
        return self.log.read_text(errors="replace")


def start(arguments: Sequence[object], logs: Path, before: Callable[[], None] | None = None) -> Child:
    """Start `cxr-sample ...` or `train/x.py ...` in a fork; `before` runs in the child first."""
    logs.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=logs, suffix=".log")
    pid = os.fork()
    if pid:
        os.close(descriptor)
        return Child(pid, Path(name))
    code = 1
    try:  # the child leaves by os._exit only
        for stream in (1, 2):
            os.dup2(descriptor, stream)
        sys.stdout, sys.stderr = (open(stream, "w", closefd=False) for stream in (1, 2))  # noqa: SIM115
        if before is not None:
            before()
        code = _call([str(argument) for argument in arguments])
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def _call(arguments: list[str]) -> int:
    import traceback

    sys.argv = arguments
    try:
        if arguments[0] == "cxr-sample":
            from gen.sample.cli import main

            main()
        else:
            runpy.run_path(str(ROOT / arguments[0]), run_name="__main__")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def run(arguments: Sequence[object], logs: Path, code: int = 0, before: Callable[[], None] | None = None) -> str:
    """Run a command to its end; it must end with `code`. Returns what it said."""
    child = start(arguments, logs, before)
    ended = child.wait()
    check(ended == code, f"{' '.join(map(str, arguments[:3]))} ended with {ended}, not {code}: {child.said()[-600:]}")
    return child.said()


# ---- a small world and what an undisturbed run makes of it --------------------------------------------------------


@dataclass(frozen=True)
class World:
    """A model, a plan, images, a codec and recipes; and a folder for logs."""

    folder: Path

    @property
    def logs(self) -> Path:
        return self.folder / "logs"

    def plan(self, out: Path) -> list[object]:
        return ["cxr-sample", "plan", "--target", self.folder / "target.yaml", "--out", out / "plan.parquet"]

    def draw(self, out: Path, format_: str = "png", *more: object, plan: str = "plan") -> list[object]:
        options = (
            "--model",
            self.folder / "model",
            "--steps",
            2,
            "--batch-size",
            3,
            "--device",
            "cpu",
            "--per-file",
            7,
        )
        return [
            "cxr-sample",
            "run",
            self.folder / f"{plan}.parquet",
            "--out",
            out / "set",
            "--format",
            format_,
            *options,
            *more,
        ]

    def draw_distinct(self, out: Path, format_: str) -> list[object]:
        """A set whose plan makes one picture in two of its images, and one in three, of a gate that forbids it."""
        return self.draw(out, format_, "--gates", "duplicates", "--max-tries", 4, plan="twins")

    def verify(self, out: Path) -> list[object]:
        return ["cxr-sample", "verify", out / "set"]

    def encode(self, out: Path) -> list[object]:
        return ["train/encode.py", self.folder / "encode.yaml", f"out={out / 'moments'}"]

    def train(self, out: Path) -> list[object]:
        return ["train/ldm.py", self.folder / "text.yaml", f"run={out / 'run'}"]


def make_world(folder: Path) -> World:
    """Everything that the commands need, at a tiny size. Runs in a child: this process keeps no threads."""
    import pandas as pd
    import torch
    import yaml
    from PIL import Image

    from gen.data.index import write_index
    from gen.models.codec import LatentCodec

    torch.manual_seed(0)
    runpy.run_path(str(ROOT / "tests" / "conftest.py"))["_random_pipeline"]().save_pretrained(folder / "model")
    rows, rng = [], np.random.default_rng(0)
    for number in range(IMAGES):
        path = folder / f"{number:02}.png"
        Image.fromarray(rng.integers(0, 256, (SIDE, SIDE), dtype=np.uint8)).save(path)
        split = "train" if number < IMAGES - 4 else "val"
        rows.append({"image": str(path), "patient_id": f"p{number}", "study_id": f"s{number}", "split": split})
    table = pd.DataFrame(rows).assign(
        source="drawn", may_ship=True, view="PA", sex="M", findings="Cardiomegaly", age=50.0
    )
    write_index(table, folder / "index.csv")
    shape = {"latent_channels": 4, "block_out_channels": [8, 8, 16], "layers_per_block": [0, 1, 1]}
    LatentCodec(kind="dc", **shape).save_pretrained(folder / "codec")
    data = {"index": str(folder / "index.csv"), "resolution": SIDE}
    encode = {"data": data, "codec": str(folder / "codec"), "out": "given", "variants": 2}
    unet = {"kind": "unet", "block_out_channels": [32, 32], "layers_per_block": 1}
    unet |= {"attention_levels": [False, True], "head_channels": 16}
    train = {"steps": 12, "batch_size": 3, "learning_rate": 2e-3, "lr_schedule": "cosine", "checkpoint_every": 3}
    text = {"run": "given", "codec": str(folder / "codec"), "data": data, "denoiser": unet}
    text |= {"text": {"width": 16, "layers": 1, "heads": 2, "max_tokens": 16}, "task": {"name": "text", "drop": 0.1}}
    text |= {
        "objective": {"prediction": "v_prediction", "schedule": "scaled_linear"},
        "train": {**train, "log_every": 1},
    }
    (folder / "encode.yaml").write_text(yaml.safe_dump(encode))
    (folder / "text.yaml").write_text(yaml.safe_dump(text))
    group = {"n": PLANNED, "findings": "Cardiomegaly", "view": ["PA", "AP"], "sex": ["M", "F"], "age": "40-80"}
    numbers = range(PLANNED)
    twins = pd.DataFrame({"id": [f"{number:04d}" for number in numbers], "seed": [number % 14 for number in numbers]})
    twins.loc[PLANNED - 1, "seed"] = 0
    twins.assign(prompt="PA chest radiograph.").to_parquet(folder / "twins.parquet")
    (folder / "target.yaml").write_text(yaml.safe_dump({"groups": [group]}))
    return World(folder)


def in_child(work: Callable[[], object], logs: Path) -> object:
    """The JSON value of a function that runs in a fork of its own: Arrow's and torch's threads die with it."""
    answer = logs / f"{random.getrandbits(64):x}.json"
    logs.mkdir(parents=True, exist_ok=True)
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            answer.write_text(json.dumps(work()))
            code = 0
        finally:
            os._exit(code)
    check(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0, "what a command left cannot be read")
    value = json.loads(answer.read_text())
    answer.unlink()
    return value


def digest(path: Path) -> str:
    """SHA-256 of a file."""
    import hashlib

    return hashlib.sha256(path.read_bytes()).hexdigest()


def planned(out: Path) -> object:
    """The plan, byte for byte."""
    return digest(out / "plan.parquet")


def drawn(out: Path) -> object:
    """Checksum of every drawing by its id, try and fate, from the manifest."""
    from gen.sample.parts import read_manifest
    from gen.sample.store import open_store

    rows = read_manifest(open_store(out / "set"), ["sha256"]).to_pylist()
    final = [row["id"] for row in rows if row["status"] != "rejected"]
    check(len(set(final)) == len(final), "an image is there twice")
    return {f"{row['id']} {row['try']} {row['status']}": row["sha256"] for row in rows}


def encoded(out: Path) -> object:
    """The moments, byte for byte, and that all are done."""
    check(bool(np.load(out / "moments" / "done.npy").all()), "moments are missing")
    return digest(out / "moments" / "moments.npy")


def trained(out: Path) -> object:
    """The loss of every step, once each, and the exported weights."""
    lines = [json.loads(line) for line in (out / "run" / "metrics.jsonl").read_text().splitlines()]
    losses = [(line["step"], line["loss"]) for line in lines if "loss" in line]
    check([step for step, _ in losses] == list(range(1, 13)), f"steps {[step for step, _ in losses]} in metrics.jsonl")
    weights = sorted((out / "run" / "export").rglob("*.safetensors"))
    check(len(weights) == 3, "an export without all its weights")
    return [losses, [digest(path) for path in weights]]


@dataclass(frozen=True)
class Job:
    """A command, and what it leaves; `proof` is another command that has to agree."""

    command: Callable[[Path], list[object]]
    result: Callable[[Path], object]
    proof: Callable[[Path], list[object]] | None = None
    prepared: Callable[[Path], None] | None = None  # what is there before


def jobs(world: World, finished: Path) -> dict[str, Job]:
    """Everything that is killed. `finished`: a run whose training is over, for export."""

    def before_export(out: Path) -> None:
        shutil.copytree(finished / "run", out / "run")
        shutil.rmtree(out / "run" / "export")

    sets = {
        f"run {format_}": Job(lambda out, format_=format_: world.draw(out, format_), drawn, world.verify)
        for format_ in FORMATS
    }
    distinct = {
        f"distinct {format_}": Job(lambda out, format_=format_: world.draw_distinct(out, format_), drawn, world.verify)
        for format_ in ("png", "webdataset")
    }
    return {
        "plan": Job(world.plan, planned),
        **sets,
        **distinct,
        "cache": Job(world.encode, encoded),
        "train": Job(world.train, trained),
        "export": Job(world.train, trained, prepared=before_export),
    }


def leftovers(out: Path) -> list[str]:
    """Temporary files and folders below a folder."""
    return [str(path.relative_to(out)) for pattern in TEMPORARY for path in out.rglob(pattern)]


# ---- kills --------------------------------------------------------------------------------------------------------


@dataclass
class Tally:
    """What happened, by name."""

    tries: int = 0
    hit: int = 0  # killed before the command was over
    wrong: list[str] = field(default_factory=list)


def reference(world: World, job: Job, out: Path) -> tuple[object, float]:
    """What an undisturbed run leaves, and how long it takes."""
    out.mkdir(parents=True)
    if job.prepared is not None:
        job.prepared(out)
    began = time.monotonic()
    run(job.command(out), world.logs)
    seconds = time.monotonic() - began
    return in_child(lambda: job.result(out), world.logs), seconds


def kill_once(world: World, job: Job, out: Path, rng: random.Random, expected: object, seconds: float) -> int:
    """Kill a command once or more, then let it finish; returns how many kills came before its end."""
    out.mkdir(parents=True)
    if job.prepared is not None:
        job.prepared(out)
    hits = 0
    for _ in range(rng.choice((1, 1, 1, 2))):
        child = start(job.command(out), world.logs)
        time.sleep(rng.uniform(0, seconds))
        child.signal(signal.SIGKILL)
        hits += child.wait() == -signal.SIGKILL
    settle(world, job, out, expected)
    return hits


def settle(world: World, job: Job, out: Path, expected: object) -> None:
    """Run a command to its end and compare with the undisturbed run."""
    run(job.command(out), world.logs)
    check(in_child(lambda: job.result(out), world.logs) == expected, "the result is not that of an undisturbed run")
    check(not leftovers(out), f"left behind: {leftovers(out)[:5]}")
    if job.proof is not None:
        check("; whole" in run(job.proof(out), world.logs), "verify does not say that the set is whole")


def kills(world: World, name: str, job: Job, count: int, seed: int, workers: int, expected: tuple) -> Tally:
    """So many kills of one command that came before its end."""
    tally = Tally()

    def once(number: int) -> tuple[int, str]:
        out = world.folder / "kills" / f"{name.replace(' ', '_')}_{number}"
        try:
            return kill_once(world, job, out, random.Random(f"{seed}/{name}/{number}"), *expected), ""
        except Wrong as wrong:
            return 0, f"{name} {number}: {wrong}"
        finally:
            shutil.rmtree(out, ignore_errors=True)

    with ThreadPoolExecutor(workers) as pool:
        while tally.hit < count and tally.tries < 5 * count + 5 and not tally.wrong[5:]:
            numbers = range(tally.tries, tally.tries + min(workers, count))
            for hits, wrong in pool.map(once, numbers):
                tally.tries, tally.hit = tally.tries + 1, tally.hit + hits
                tally.wrong += [wrong] * bool(wrong)
    return tally


# ---- other faults -------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def small_disk(folder: Path, size: str) -> Iterator[None]:
    """A file system of its own, of a certain size; needs the right to mount."""
    folder.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], check=True, capture_output=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", folder], check=True, capture_output=True)


def remount(folder: Path, option: str) -> None:
    """Another size, or no right to write."""
    subprocess.run(["mount", "-o", f"remount,{option}", folder], check=True, capture_output=True)


def can_mount() -> bool:
    """Whether this user may mount a file system."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            with small_disk(Path(folder) / "disk", "64k"):
                return True
        except (subprocess.CalledProcessError, OSError):
            return False


def one_line(said: str, words: str) -> None:
    """The command ended on one line of error that holds some words."""
    lines = [line for line in said.replace("\r", "\n").splitlines() if line.startswith("error: ")]
    check("Traceback" not in said, f"a traceback: {said[-500:]}")
    check(len(lines) == 1 and words in lines[0], f"no line of error with {words!r}: {said[-500:]}")


def disk_full(world: World, job: Job, out: Path, expected: object, size: str) -> None:
    """The disk fills up; with more room the same command finishes."""
    with small_disk(out, size):
        (out / "filler").write_bytes(bytes(4096))
        one_line(run(job.command(out), world.logs, 2), "disk")
        remount(out, "size=256m")
        settle(world, job, out, expected)


def read_only(world: World, job: Job, out: Path, expected: object) -> None:
    """Nothing may be written; later it may."""
    with small_disk(out, "256m"):
        remount(out, "ro")
        one_line(run(job.command(out), world.logs, 2), "")
        remount(out, "rw")
        settle(world, job, out, expected)


def damaged_part(world: World, job: Job, out: Path, expected: object) -> None:
    """A part of the manifest loses its middle: it is named, and without it the set mends itself."""
    run(job.command(out), world.logs)
    part = next((out / "set" / "manifest").glob("*.parquet"))
    data = part.read_bytes()
    part.write_bytes(data[: len(data) // 3] + bytes(len(data) // 3) + data[2 * len(data) // 3 :])
    for command in (job.command(out), world.verify(out)):
        one_line(run(command, world.logs, 2), part.name)
    part.unlink()
    settle(world, job, out, expected)


def damaged_image(world: World, job: Job, out: Path, expected: object) -> None:
    """A changed byte is found by verify, and mended by --recheck."""
    run(job.command(out), world.logs)
    image = next(
        path for path in (out / "set").rglob("*") if path.suffix in (".png", ".tar") and "contact" not in path.name
    )
    data = bytearray(image.read_bytes())
    data[data.index(b"IDAT") + 20] ^= 1
    image.write_bytes(data)
    check("NOT whole" in run(world.verify(out), world.logs, 1), "verify misses a changed byte")
    run([*job.command(out), "--recheck"], world.logs)
    settle(world, job, out, expected)


def two_runs(world: World, job: Job, out: Path, expected: object) -> None:
    """Of two runs on one folder one is told so, or comes when the other is over; nothing is there twice."""
    children = [start(job.command(out), world.logs) for _ in range(2)]
    codes = sorted(child.wait() for child in children)
    check(codes in ([0, 2], [0, 0]), f"codes {codes}")
    for child in children:
        if child.code == 2:
            one_line(child.said(), "another process")
    settle(world, job, out, expected)


def frozen(world: World, job: Job, out: Path, expected: object, seconds: float) -> None:
    """One of two workers stands still while the other finishes, then goes on."""
    first, second = (start([*job.command(out), "--shard", f"{number}/2"], world.logs) for number in (1, 2))
    time.sleep(0.3)
    first.signal(signal.SIGSTOP)
    time.sleep(seconds)
    first.signal(signal.SIGCONT)
    check([first.wait(), second.wait()] == [0, 0], f"{first.said()[-300:]} {second.said()[-300:]}")
    settle(world, job, out, expected)


def terminated(world: World, job: Job, out: Path, expected: object, seconds: float) -> None:
    """SIGTERM ends a command in good order."""
    child = start(job.command(out), world.logs)
    time.sleep(seconds / 2)
    child.signal(signal.SIGTERM)
    code = child.wait()
    check(code in (0, 143, -signal.SIGTERM), f"code {code}: {child.said()[-300:]}")
    check("Traceback" not in child.said(), child.said()[-300:])
    settle(world, job, out, expected)


def jumping_clock(world: World, job: Job, out: Path, expected: object) -> None:
    """The clock goes back and forth by years, and files get dates of the future."""

    def jump() -> None:
        real, rng = time.time, random.Random(0)
        time.time = lambda: real() + rng.choice((-3e8, -1, 0, 3e8))

    child = start(job.command(out), world.logs, jump)
    time.sleep(0.5)
    child.signal(signal.SIGKILL)
    child.wait()
    for path in out.rglob("*"):
        if path.is_file():
            os.utime(path, (4e9, 4e9))
    run(job.command(out), world.logs, before=jump)
    settle(world, job, out, expected)


def out_of_memory(world: World, job: Job, out: Path, expected: object) -> None:
    """Batches of more than two images do not fit: the batch is halved, that is said, and the set is whole."""

    def little_memory() -> None:
        import torch
        from diffusers import UNet2DConditionModel

        forward = UNet2DConditionModel.forward

        def limited(self, sample, *rest, **options):
            if len(sample) > 4:  # two images with guidance
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate")
            return forward(self, sample, *rest, **options)

        UNet2DConditionModel.forward = limited

    said = run(job.command(out), world.logs, before=little_memory)
    check("out of memory: going on with batches of 1" in said, f"not said: {said[-300:]}")
    check("; whole" in run(world.verify(out), world.logs), "verify does not say that the set is whole")
    check(set(in_child(lambda: job.result(out), world.logs)) == set(expected), "other images")


def faults(
    world: World, all_jobs: dict[str, Job], known: dict[str, tuple], freeze: float
) -> dict[str, Callable[[Path], None]]:
    """Every other fault by its name."""
    found: dict[str, Callable[[Path], None]] = {}

    def add(name: str, job: str, fault: Callable, *more: object) -> None:
        if job in known:
            found[f"{name}: {job}"] = lambda out: fault(world, all_jobs[job], out, known[job][0], *more)

    if can_mount():
        for job, size in (
            ("plan", "4k"),
            ("run png", "32k"),
            ("run webdataset", "24k"),
            ("distinct png", "100k"),
            ("cache", "16k"),
            ("train", "600k"),
        ):
            add("disk full", job, disk_full, size)
        for job in ("plan", "run png", "cache", "train"):
            add("read-only", job, read_only)
    for job in ("run png", "run parquet"):
        add("damaged part", job, damaged_part)
    add("damaged image", "run png", damaged_image)
    add("damaged image", "run webdataset", damaged_image)
    for job in ("run png", "run webdataset", "cache", "train"):
        add("two runs", job, two_runs)
    for job in ("run png", "distinct webdataset"):
        add("frozen worker", job, frozen, freeze)
    for job in ("run png", "run webdataset", "distinct png", "cache", "train"):
        add("SIGTERM", job, terminated, known.get(job, ((), 0.0))[1])
    for job in ("run png", "cache", "train"):
        add("clock jumps", job, jumping_clock)
    add("GPU out of memory", "run png", out_of_memory)
    return found


SHARES = {
    "plan": 0.1,
    "run png": 0.15,
    "run webdataset": 0.15,
    "run parquet": 0.05,
    "distinct png": 0.1,
    "distinct webdataset": 0.05,
    "cache": 0.15,
    "train": 0.15,
    "export": 0.1,
}


def preload() -> None:
    """Import what the commands import, so that children start at once; no work, hence no threads."""
    os.environ.update(ACCELERATE_USE_CPU="true", OMP_NUM_THREADS="1", MKL_NUM_THREADS="1", HF_HUB_OFFLINE="1")
    import accelerate  # noqa: F401
    import pyarrow.dataset  # noqa: F401
    import torch

    import gen.data.inspection
    import gen.engine.loop
    import gen.judges.neighbours
    import gen.pipeline
    import gen.sample.job
    import gen.sample.planning
    import gen.sample.similar  # noqa: F401

    torch.set_num_threads(1)


def main() -> int:
    """Print a line a fault, then the sum."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--freeze", type=float, default=60.0, help="seconds that a worker stands still")
    parser.add_argument("--workers", type=int, default=2, help="faults at a time")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="pattern of the names of kills and faults")
    parser.add_argument("--jobs", default="", help=f"a,b,c of {', '.join(SHARES)}")
    options = parser.parse_args()
    preload()
    began, wrong, done = time.monotonic(), [], 0
    with tempfile.TemporaryDirectory(prefix="chaos-") as folder:
        world = World(Path(folder))
        in_child(lambda: str(make_world(Path(folder)).folder), world.logs)
        run(world.plan(world.folder), world.logs)
        all_jobs = jobs(world, world.folder / "reference" / "train")
        chosen = [name for name in options.jobs.split(",") if name] or list(all_jobs)
        all_jobs = {name: all_jobs[name] for name in chosen}
        known = {name: reference(world, job, world.folder / "reference" / name) for name, job in all_jobs.items()}
        print(
            f"{'undisturbed':24}{', '.join(f'{name} {seconds:.1f} s' for name, (_, seconds) in known.items())}",
            flush=True,
        )
        for name, job in all_jobs.items():
            count = round(options.kills * SHARES[name] / sum(SHARES[name] for name in all_jobs))
            if not re.search(options.only, f"kill -9: {name}") or not count:
                continue
            tally = kills(world, name, job, count, options.seed, options.workers, known[name])
            done, wrong = done + tally.hit, wrong + tally.wrong
            print(
                f"{f'kill -9: {name}':24}{tally.hit:4} kills in {tally.tries} runs, {len(tally.wrong)} wrong",
                flush=True,
            )
        others = faults(world, all_jobs, known, options.freeze)
        if not can_mount():
            print("disk full, read-only: left out, this user may not mount a file system")
        others = {name: fault for name, fault in others.items() if re.search(options.only, name)}
        with ThreadPoolExecutor(options.workers) as pool:
            for name, said in pool.map(lambda item: (item[0], attempt(world, *item)), others.items()):
                wrong += [f"{name}: {said}"] * bool(said)
                print(f"{name:40}{'WRONG' if said else 'right'}", flush=True)
    for line in wrong:
        print(f"WRONG {line}", flush=True)
    minutes = (time.monotonic() - began) / 60
    print(f"{done} kills, {len(others)} other faults, {len(wrong)} wrong, {minutes:.1f} minutes")
    return int(bool(wrong))


def attempt(world: World, name: str, fault: Callable[[Path], None]) -> str:
    """Carry out a fault; what was wrong, or nothing."""
    out = world.folder / "faults" / name.replace(" ", "_").replace(":", "")
    try:
        if not name.startswith(("disk full", "read-only")):
            out.mkdir(parents=True)
        fault(out)
    except Wrong as wrong:
        return str(wrong)
    finally:
        shutil.rmtree(out, ignore_errors=True)
    return ""


if __name__ == "__main__":
    sys.exit(main())
