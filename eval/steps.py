"""Quality against steps and seconds: a teacher with several samplers and its few-step student, from the same seeds."""

from __future__ import annotations

import itertools
import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from diffusers import DDIMScheduler, DDPMScheduler, DPMSolverMultistepScheduler, SchedulerMixin
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from gen.data.dataset import CXRDataset, collate, make_dataset
from gen.engine.loop import to_device
from gen.engine.processes import on_cpu, precision
from gen.files import replacing
from gen.judges.frechet import frechet_distance
from gen.pipeline import CXRPipeline
from gen.schema import DataConfig
from gen.tasks.latents import with_link_latents

from .kernels import KERNELS, discrepancies
from .plots import step_curves
from .section import Figure, Plot, Section, Table

if TYPE_CHECKING:
    from .networks import FeatureNetwork

TEACHERS: dict[str, type[SchedulerMixin]] = {
    "DDIM": DDIMScheduler,
    "DDPM": DDPMScheduler,
    "DPM-Solver++": DPMSolverMultistepScheduler,
}
REFERENCE = "DDIM"  # with the most steps that are measured, it is what the other points are given against
STUDENT = "student"
TOLERANCE = 0.02  # of a distance; chosen, not measured
HALVES = {"bf16": torch.bfloat16, "fp16": torch.float16}
HEADER = ("sampler", "steps", "calls", "seconds an image", "Frechet", "to the reference", "KID")


@dataclass(frozen=True)
class Point:
    """One sampler with one number of steps: network calls an image, seconds an image, distances to the real images."""

    sampler: str
    steps: int
    calls: int
    seconds: float
    frechet: float
    kid: float


@dataclass
class Course:
    """Seeds and conditions, what the real images look like to a network, and where finished points are kept."""

    batches: list[tuple[list[int], dict]]
    network: FeatureNetwork
    real: np.ndarray
    guidance: float
    kept: Path

    def point(self, pipeline: CXRPipeline, sampler: str, steps: int) -> Point:
        """Measure one point, or read it where this model, sampler and number of images were measured before."""
        name = f"{pipeline.model_hash} {sampler} {steps} {self.guidance} {len(self.real)} {self.network.fingerprint}"
        known = json.loads(self.kept.read_text()) if self.kept.is_file() else {}
        if name not in known:
            known[name] = asdict(self._measured(pipeline, sampler, steps))
            with replacing(self.kept) as temporary:
                temporary.write_text(json.dumps(known, indent=1))
        return Point(**known[name])

    def _measured(self, pipeline: CXRPipeline, sampler: str, steps: int) -> Point:
        clock = time.process_time if pipeline.device.type == "cpu" else time.perf_counter
        calls, spent, features = [], 0.0, []
        counting = pipeline.unet.register_forward_hook(lambda module, inputs, output: calls.append(len(inputs[0])))
        for seeds, batch in tqdm(self.batches, desc=f"{sampler} {steps}", unit="batch", disable=None):
            began = clock()
            images = pipeline.draw(batch, seeds, steps, self.guidance, output_type="np", progress=False).images
            spent += clock() - began
            features.append(features_of(self.network, torch.from_numpy(images)[:, None] * 2 - 1))
        counting.remove()
        made, n = np.concatenate(features), len(self.real)
        kid = discrepancies(made, self.real, kernels={"KID": KERNELS["KID"]})["KID"].value
        return Point(sampler, steps, sum(calls) // n, spent / n, frechet_distance(made, self.real), kid)


def batches_of(dataset: CXRDataset, pipeline: CXRPipeline, count: int, size: int) -> list[tuple[list[int], dict]]:
    """Seeds and conditions of the first held-out samples, made once for all points."""
    batches = []
    for first in range(0, count, size):
        rows = list(range(first, min(first + size, count)))
        samples = [{k: v for k, v in dataset[row, row].items() if k != "image"} for row in rows]
        batches.append((rows, with_link_latents(pipeline.vae, to_device(collate(samples), pipeline.device))))
    return batches


def measure_steps(
    real: Path,
    teacher: str | Path,
    student: str | Path | None,
    out: Path,
    network: FeatureNetwork,
    split: str = "test",
    images: int = 256,
    guidance: float = 2.0,
    teacher_steps: tuple[int, ...] = (4, 8, 50),
    student_steps: tuple[int, ...] = (1, 2, 4, 8),
    batch: int = 16,
) -> Section:
    """The curve steps -> quality -> seconds of a teacher with each of TEACHERS and of its student.

    One image is drawn for each held-out sample, from its own condition and its row's seed, the same for every point;
    distances are to the real images of those samples. Half precision where the machine computes it natively. Seconds
    are those of all processor cores on a CPU. Finished points are kept in `out`: run it again to go on.
    """
    pipeline = CXRPipeline.from_pretrained(teacher).to("cpu" if on_cpu() else torch.accelerator.current_accelerator())
    data = DataConfig(index=real, resolution=pipeline.config.resolution)
    dataset = make_dataset(data, split, 0, None, pipeline.task.needs, pipeline.task.rows)
    rows = range(min(images, len(dataset)))
    truth = np.concatenate([features_of(network, dataset.image(row)[None]) for row in rows])
    course = Course(batches_of(dataset, pipeline, len(truth), batch), network, truth, guidance, out / "points.json")
    points = []
    half = precision("auto", on_cpu())
    with torch.autocast(pipeline.device.type, HALVES.get(half), enabled=half in HALVES):
        for name, kind in TEACHERS.items():
            pipeline.scheduler = kind.from_config(pipeline.scheduler.config)
            points += [course.point(pipeline, name, steps) for steps in teacher_steps]
        if student is not None:
            few = CXRPipeline.from_pretrained(student).to(pipeline.device)
            points += [course.point(few, STUDENT, steps) for steps in student_steps]
    return section_of(points, len(truth), floor(dataset, data, pipeline, network, truth), half)


def features_of(network: FeatureNetwork, images: Tensor) -> np.ndarray:
    """Features of images of any side, in float32. Shapes: [B, 1, H, W] in -1..1 -> [B, D]."""
    small = F.interpolate(images.float(), (network.side,) * 2, mode="bilinear", antialias=True)
    with torch.autocast(images.device.type, enabled=False):
        return network(small).features.float().cpu().numpy()


def floor(
    dataset: CXRDataset, data: DataConfig, pipeline: CXRPipeline, network: FeatureNetwork, truth: np.ndarray
) -> float:
    """Frechet distance of as many training images to the real held-out ones: as near as radiographs come."""
    train = make_dataset(data, "train", 0, None, pipeline.task.needs, pipeline.task.rows)
    step = max(1, len(train) // len(truth))
    rows = list(range(0, len(train), step))[: len(truth)]
    seen = np.concatenate([features_of(network, train.image(row)[None]) for row in rows])
    return frechet_distance(seen, truth)


def section_of(points: list[Point], n: int, real: float, half: str) -> Section:
    """Points as figures, a table and a plot."""
    section = Section("steps", "Quality against the number of steps")
    longest = max((p for p in points if p.sampler == REFERENCE), key=lambda p: p.steps)
    reference = longest.frechet
    section.figures = [
        Figure("Frechet distance", p.frechet, n=n, better="low", floor=real, control=reference, group=_name(p))
        for p in points
    ]
    rows = [
        (
            *(p.sampler, str(p.steps), str(p.calls), f"{p.seconds:.3f}", f"{p.frechet:.2f}"),
            *(f"{p.frechet / reference:.2f}", f"{p.kid:.4f}"),
        )
        for p in points
    ]
    title = f"{n} images from the same seeds and conditions; the reference is {_name(longest)}"
    section.tables.append(Table(title, HEADER, rows))
    curves: dict[str, list[Point]] = {}
    for point in points:
        curves.setdefault(point.sampler, []).append(point)
    if STUDENT in curves:
        section.notes.append(f"The student's quality {monotony(curves[STUDENT])}.")
    section.plots.append(Plot("Frechet distance by steps and by seconds", step_curves(curves, real)))
    section.notes.append(
        f"Real training images of equal number: {real:.2f}. Computed in {half if half != 'no' else 'fp32'}."
    )
    return section


def monotony(points: list[Point]) -> str:
    """Whether quality falls anywhere as the steps grow, by more than TOLERANCE of the distance, in words."""
    ordered = sorted(points, key=lambda point: point.steps)
    worse = [
        f"from {a.steps} to {b.steps} steps (distance {b.frechet / a.frechet - 1:+.1%})"
        for a, b in itertools.pairwise(ordered)
        if b.frechet > (1 + TOLERANCE) * a.frechet
    ]
    return f"falls {', '.join(worse)}" if worse else "does not fall as steps grow"


def _name(point: Point) -> str:
    return f"{point.sampler}, {point.steps} steps"
