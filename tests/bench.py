"""Promised ratios and times, measured on the machine at hand: `make bench`. Exit code 1 where one is missed."""

from __future__ import annotations

import copy
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline
from diffusers.utils import logging
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from transformers import CLIPTextConfig, CLIPTextModel

from gen.config import load_config
from gen.engine.learner import Learner
from gen.engine.loop import Loop
from gen.models.codec import LatentCodec
from gen.models.denoiser import build_denoiser
from gen.models.text import build_text_encoder, train_tokenizer
from gen.objectives.diffusion import DiffusionObjective
from gen.pipeline import DEFAULT_MODEL, CXRPipeline
from gen.schema import LatentJob
from gen.tasks import TASKS

ROOT = Path(__file__).resolve().parents[1]
RECIPE = ROOT / "configs" / "text_256.yaml"
PROMPT = "PA chest radiograph of a 60-year-old man with cardiomegaly."
CODEC = {"latent_channels": 32, "block_out_channels": (16, 32, 64, 128, 128), "layers_per_block": (0, 1, 2, 3, 2)}
BATCH, PAIRS, STEPS = 8, 9, 4
Row = tuple[str, float, float | None]  # what, value, and where there is one the limit


def recipe() -> LatentJob:
    """The shipped model's recipe in float32, without the token summary, which the stock pipeline cannot pass on."""
    overrides = ["text.model=null", "text.layers=2", "denoiser.summary=false", "train.mixed_precision=no"]
    return load_config(LatentJob, RECIPE, overrides)


def model(job: LatentJob) -> nn.ModuleDict:
    """Task and denoiser of the shipped model's size, with random weights."""
    text = build_text_encoder(job.text, train_tokenizer([PROMPT]))
    denoiser = build_denoiser(job.denoiser, CODEC["latent_channels"], 16, text.width)
    nn.init.normal_(denoiser.backbone.conv_out.weight, std=0.02)
    return nn.ModuleDict({"task": TASKS["text"](text), "denoiser": denoiser})


class Fixed(Learner):
    """The same latents and prompts at every step."""

    def __init__(self, job: LatentJob, trained: nn.ModuleDict) -> None:
        super().__init__()
        self.trained, self.objective, self.drop = trained, DiffusionObjective(job.objective), job.task.drop
        self.batch = {"z0": torch.randn(BATCH, CODEC["latent_channels"], 16, 16), "prompt": [PROMPT] * BATCH}

    def forward(self, batch: dict) -> dict:
        condition = self.trained["task"](batch).drop(self.drop)
        return self.objective(self.trained["denoiser"], batch["z0"], condition)

    def batches(self, rank: int, world: int, start: int) -> Iterator[dict]:
        while True:
            yield self.batch

    def export(self, trained: nn.ModuleDict, folder: Path) -> None:
        """Nothing is kept."""


def interleaved(
    ours: Callable, theirs: Callable, pairs: int = PAIRS, clock: Callable[[], float] = time.perf_counter
) -> float:
    """Median ratio of neighbours in time, so that a machine that is busy now and then troubles both alike."""
    ratios = []
    for number in range(pairs + 1):
        order = (ours, theirs) if number % 2 else (theirs, ours)
        spent = {}
        for work in order:
            began = clock()
            work()
            spent[work] = clock() - began
        ratios.append(spent[ours] / spent[theirs])
    return statistics.median(ratios[1:])  # the first pair warms up


def engine_step() -> Iterator[Row]:
    """The loop's step against forward, backward, optimizer and average written bare: the work a recipe asks for."""
    job = recipe()
    torch.manual_seed(0)
    trained = model(job)
    bare = Fixed(job, copy.deepcopy(trained)).train()
    settings = {"lr": job.train.learning_rate, "betas": job.train.betas, "fused": True}  # the loop's own kernel
    optimizer = torch.optim.AdamW(bare.trained.parameters(), **settings)
    average = AveragedModel(bare.trained, multi_avg_fn=get_ema_multi_avg_fn(job.train.ema_decay))

    def written_bare() -> None:
        loss = sum(bare(bare.batch).values())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(bare.trained.parameters(), job.train.clip_norm)
        optimizer.step()
        optimizer.zero_grad()
        average.update_parameters(bare.trained)

    with tempfile.TemporaryDirectory() as folder:
        loop = Loop(Fixed(job, trained), job, job.train, Path(folder) / "run", cpu=True)
        batches = loop.learner.batches(0, 1, 0)
        yield "engine step / bare step", interleaved(lambda: loop.step(batches), written_bare), 1.05


def pipelines() -> tuple[CXRPipeline, StableDiffusionPipeline]:
    """Ours and the stock one around the same UNet and scheduler."""
    job = recipe()
    trained = model(job).eval()
    codec = LatentCodec(kind="dc", **CODEC, linear_skip=True).eval()
    scheduler = DiffusionObjective(job.objective).scheduler
    ours = CXRPipeline.from_modules(codec, trained["task"], trained["denoiser"], scheduler, 256)
    width, length = ours.text_encoder.config.hidden_size, ours.config.max_tokens
    text = CLIPTextConfig(
        vocab_size=len(ours.tokenizer),
        hidden_size=width,
        intermediate_size=4 * width,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=length,
    )
    tokenizer = copy.deepcopy(ours.tokenizer)
    tokenizer.model_max_length = length
    levels = 5
    vae = AutoencoderKL(
        latent_channels=CODEC["latent_channels"],
        block_out_channels=(32, 64, 128, 128, 128),
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
    )
    stock = StableDiffusionPipeline(
        vae=vae.eval(),
        text_encoder=CLIPTextModel(text).eval(),
        tokenizer=tokenizer,
        unet=ours.unet,
        scheduler=copy.deepcopy(ours.scheduler),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    stock.set_progress_bar_config(disable=True)
    return ours, stock


def pipeline_image() -> Iterator[Row]:
    """One image against diffusers' stock pipeline, as a latent and as a picture."""
    ours, stock = pipelines()
    # as a latent the two differ by the mask over the padding, which costs a percent and which the stock one lacks
    for kind, name, limit in (("latent", "latent", 1.05), ("pil", "image", 1.0)):
        ratio = interleaved(
            lambda kind=kind: ours(PROMPT, steps=STEPS, guidance=2.0, output_type=kind, progress=False),
            lambda kind=kind: stock(PROMPT, num_inference_steps=STEPS, guidance_scale=2.0, output_type=kind),
        )
        yield f"pipeline {name} / stock {name}", ratio, limit


def seconds(command: list[str], repeats: int) -> float:
    """Wall-clock seconds of a command, the median."""
    spent = []
    for _ in range(repeats):
        began = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=ROOT)
        spent.append(time.perf_counter() - began)
    return statistics.median(spent)


def start_up() -> Iterator[Row]:
    """What a person waits for before anything is drawn."""
    code = (
        "import sys, time; t = time.perf_counter(); import gen; print(time.perf_counter() - t, 'torch' in sys.modules)"
    )
    runs = [subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=ROOT)]
    runs += [subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True) for _ in range(4)]
    spent = [run.stdout.split() for run in runs]
    yield "import gen, seconds", statistics.median(float(value) for value, _ in spent), 0.3
    yield "torch loaded by import gen", float(any(torch == "True" for _, torch in spent)), 0.0
    command = Path(sys.executable).with_name("cxr-sample")
    if command.is_file():
        yield "cxr-sample --help, seconds", seconds([str(command), "--help"], 5), 1.0
    else:
        print("cxr-sample is not installed: left out (pip install -e .)", flush=True)


def cold_start() -> Iterator[Row]:
    """From nothing to the first image of the shipped model."""
    if not (DEFAULT_MODEL / "model_index.json").is_file():
        print("no shipped model: the cold start is left out", flush=True)
        return
    code = f"from gen import CXRPipeline; CXRPipeline.from_pretrained()({PROMPT!r}, progress=False).images[0].load()"
    yield "first image from a cold start, seconds", seconds([sys.executable, "-c", code], 1), 15.0


def report(measures: Iterable[Callable[[], Iterator[Row]]], name: str) -> int:
    """Measure, print a line each and write bench/NAME in the current folder; 1 where a limit is missed."""
    logging.set_verbosity_error()
    results = []
    for measure in measures:
        for what, value, limit in measure():
            passed = limit is None or value <= limit
            judged = "" if limit is None else f"   limit {limit:6.2f}   {'PASS' if passed else 'FAIL'}"
            print(f"{what:48}{value:10.3f}{judged}", flush=True)
            results.append({"name": what, "value": value, "limit": limit, "passed": passed})
    Path("bench").mkdir(exist_ok=True)
    machine = {"torch": torch.__version__, "threads": torch.get_num_threads()}
    Path("bench", name).write_text(json.dumps({**machine, "results": results}, indent=1) + "\n")
    return int(not all(result["passed"] for result in results))


if __name__ == "__main__":
    sys.exit(report((engine_step, pipeline_image, start_up, cold_start), "bench.json"))
