"""Speed of drawing in a few steps and of training, against diffusers' own: `python tests/bench_speed.py`.

Processor time on a CPU: what other programs take is not counted. Exit code 1 where a limit is missed.
"""

from __future__ import annotations

import copy
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import torch
from diffusers import AutoencoderKL, DDIMScheduler, LCMScheduler, StableDiffusionPipeline
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel

from bench import PROMPT, RECIPE, Row, interleaved, report
from gen.config import load_config
from gen.data.dataset import CXRDataset, make_loader
from gen.data.moments import MomentsStore, image_keys
from gen.engine.learner import Learner
from gen.engine.loop import Loop
from gen.models.codec import LatentCodec
from gen.models.denoiser import Denoiser, build_denoiser, student_of
from gen.models.loading import load_codec
from gen.models.speed import fastest_dtype
from gen.models.text import build_text_encoder, train_tokenizer
from gen.objectives.diffusion import DiffusionObjective
from gen.pipeline import WEIGHTS, CXRPipeline
from gen.schema import LatentJob
from gen.tasks import TASKS
from gen.tasks.latents import target_latents

BATCH, STOCK_STEPS, FEW = 4, 50, 4
PAIRS = int(os.environ.get("PAIRS", "2"))


class SameCodec(AutoencoderKL):
    """Our codec behind the interface of diffusers' own, for a stock pipeline that differs in nothing else."""

    def __init__(self, codec: LatentCodec | None = None) -> None:
        levels = codec.downsample_factor // codec.config.unfold if codec else 8
        depth = levels.bit_length()
        super().__init__(
            block_out_channels=(32,) * depth,
            down_block_types=("DownEncoderBlock2D",) * depth,
            up_block_types=("UpDecoderBlock2D",) * depth,
            latent_channels=8,
            scaling_factor=1.0,
        )
        self.ours = codec

    def decode(self, z: Tensor, return_dict: bool = True, generator: object = None) -> tuple[Tensor]:
        return (self.ours.decode(z).expand(-1, 3, -1, -1),)

    def moments(self, image: Tensor) -> Tensor:
        return self.ours.moments(image)


def job() -> LatentJob:
    """The shipped model's recipe without the token summary, which the stock pipeline cannot pass on."""
    overrides = ["text.model=null", "text.layers=2", "text.trainable=false", "denoiser.summary=false"]
    return load_config(LatentJob, RECIPE, overrides)


def large_job() -> LatentJob:
    """The 512 px recipe with a frozen text encoder of CXR-BERT's size, in the batch that a CPU's patience allows."""
    overrides = ["text.model=null", "text.revision=null", "text.layers=12", "text.width=768", "text.heads=12"]
    overrides += ["text.lora_rank=0", "text.trainable=false", "train.mixed_precision=auto", "train.trackers=[]"]
    few = [] if torch.cuda.is_available() else ["train.batch_size=2"]
    return load_config(LatentJob, RECIPE.with_name("text_512.yaml"), overrides + few)


def parts(settings: LatentJob | None = None) -> tuple[LatentCodec, nn.Module, Denoiser]:
    """The shipped codec, and a task and a denoiser of a recipe's size, the shipped one's, with random weights."""
    codec, settings = load_codec(WEIGHTS / "text_256" / "vae").eval(), settings or job()
    task = TASKS["text"](build_text_encoder(settings.text, train_tokenizer([PROMPT]))).eval()
    channels, side, _ = codec.latent_shape(settings.data.resolution)
    denoiser = build_denoiser(settings.denoiser, channels, side, task.text.width).eval()
    nn.init.normal_(denoiser.backbone.conv_out.weight, std=0.02)
    return codec, task, denoiser


def few_step_pipeline(dtype: torch.dtype, resolution: int = 256) -> CXRPipeline:
    """A distilled student of the shipped size: one call a step."""
    codec, task, denoiser = parts()
    schedule = DiffusionObjective(job().objective).scheduler
    pipeline = CXRPipeline.from_modules(codec, task, student_of(denoiser, 64), schedule, resolution)
    pipeline.register_modules(scheduler=LCMScheduler.from_config(schedule.config, original_inference_steps=8))
    return pipeline.to(dtype)


def stock_pipeline() -> StableDiffusionPipeline:
    """diffusers' pipeline around the same codec and UNet."""
    codec, task, denoiser = parts()
    settings, tokenizer = job(), copy.deepcopy(task.text.tokenizer)
    tokenizer.model_max_length = settings.text.max_tokens
    text = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=task.text.width,
        intermediate_size=4 * task.text.width,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=settings.text.max_tokens,
    )
    schedule = DiffusionObjective(settings.objective).scheduler
    stock = StableDiffusionPipeline(
        vae=SameCodec(codec).eval(),
        text_encoder=CLIPTextModel(text).eval(),
        tokenizer=tokenizer,
        unet=denoiser.backbone,
        scheduler=DDIMScheduler.from_config(schedule.config),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    stock.set_progress_bar_config(disable=True)
    return stock


def clock() -> float:
    """Seconds of all processor cores, or of the wall where a GPU computes."""
    return time.perf_counter() if torch.cuda.is_available() else time.process_time()


def spent(work: Callable[[], object]) -> float:
    """Seconds of the quicker of two runs, after one that warms up."""
    times = []
    for _ in range(3):
        began = clock()
        work()
        times.append(clock() - began)
    return min(times[1:])


def few_steps() -> Iterator[Row]:
    """Images a second in four steps against the stock pipeline's fifty guided ones, and where the time goes.

    What is claimed is the dtype that drawing takes by itself against the stock pipeline as it comes, in float32; both
    in one dtype stand beside it.
    """
    cuda = torch.cuda.is_available()
    fastest = fastest_dtype("cuda" if cuda else "cpu")
    for dtype in dict.fromkeys((fastest, torch.float32)):
        ours = few_step_pipeline(dtype)
        drawing = lambda ours=ours: ours([PROMPT] * BATCH, steps=FEW, guidance=2.0, progress=False)  # noqa: E731
        for other in dict.fromkeys((torch.float32, dtype)):
            stock = stock_pipeline().to(other)
            theirs = lambda stock=stock: stock([PROMPT] * BATCH, num_inference_steps=STOCK_STEPS, guidance_scale=2.0)  # noqa: E731
            claimed = (dtype, other) == (fastest, torch.float32)
            limit = (1 / 25 if cuda else 1 / 20) if claimed else None
            name = f"4 steps, {told(dtype)} / stock 50, {told(other)}"
            yield name, interleaved(drawing, theirs, PAIRS, clock), limit
        yield from shares(ours, drawing, dtype)
    ours, stock = few_step_pipeline(fastest, 512), stock_pipeline()
    settings = {"num_inference_steps": STOCK_STEPS, "guidance_scale": 2.0, "height": 512, "width": 512}
    ratio = interleaved(
        lambda: ours([PROMPT], steps=FEW, guidance=2.0, progress=False), lambda: stock([PROMPT], **settings), 1, clock
    )
    yield f"512 px: 4 steps, {told(fastest)} / stock 50, float32", ratio, 1 / 25 if cuda else 1 / 20


def shares(ours: CXRPipeline, drawing: Callable[[], object], dtype: torch.dtype) -> Iterator[Row]:
    """What decoder and text encoder take of a drawing."""
    z = torch.randn(BATCH, *ours.vae.latent_shape(256), dtype=dtype)
    with torch.no_grad():
        whole, decoding = spent(drawing), spent(lambda: ours.vae.decode(z))
        text = spent(lambda: ours.task({"prompt": [PROMPT] * BATCH}))
    print(f"one image in four steps: {whole / BATCH:.3f} s ({told(dtype)})", flush=True)
    yield f"decoder's share of 4 steps, {told(dtype)}", decoding / whole, 0.25
    yield f"text encoder's share of 4 steps, {told(dtype)}", text / whole, 0.05


def told(dtype: torch.dtype) -> str:
    """A dtype's name."""
    return str(dtype).removeprefix("torch.")


class Stored(Learner):
    """Moments and prompts from a store, as train/ldm.py has them."""

    def __init__(self, settings: LatentJob, dataset: CXRDataset) -> None:
        super().__init__()
        codec, task, denoiser = parts(settings)
        self.settings, self.codec, self.task, self.dataset = settings, codec.requires_grad_(False), task, dataset
        self.trained = nn.ModuleDict({"denoiser": denoiser.train()})
        self.objective = DiffusionObjective(settings.objective)
        self.waited = 0.0

    def forward(self, batch: dict) -> dict:
        condition = self.task(batch).drop(self.settings.task.drop)
        return self.objective(self.trained["denoiser"], target_latents(self.codec, batch), condition)

    def batches(self, rank: int, world: int, start: int) -> Iterator[dict]:
        loader = iter(make_loader(self.dataset, self.settings.train.batch_size, 0, rank, world, start))
        while True:
            began = clock()
            batch = next(loader)
            self.waited += clock() - began
            yield batch

    def export(self, trained: nn.ModuleDict, folder: Path) -> None:
        """Nothing is kept."""


def stored_images(folder: Path, resolution: int = 256) -> CXRDataset:
    """A moments store of 64 images that nobody drew, and its rows."""
    codec = load_codec(WEIGHTS / "text_256" / "vae")
    table = pd.DataFrame({"image": [f"{number}.png" for number in range(64)], "source": "made", "split": "train"})
    table = table.assign(
        patient_id=table["image"], study_id="s", view="PA", sex="F", age=range(20, 84), findings="Edema"
    )
    shape = (1, 2 * codec.config.latent_channels, *[resolution // codec.downsample_factor] * 2)
    store = MomentsStore.create(folder, image_keys(table), shape, "bench", codec.signature().tolist())
    for row in range(len(table)):
        store.write(row, torch.randn(shape).half().numpy())
    return CXRDataset(table, resolution, folder)


def training_steps() -> Iterator[Row]:
    """Of both recipes; at 512 px no limit, for the codec is but a twentieth of that denoiser and saves little."""
    yield from training_step("256 px", job(), 1 / 1.5)
    yield from training_step("512 px", large_job(), None)


def training_step(what: str, settings: LatentJob, limit: float | None) -> Iterator[Row]:
    """A step on stored moments against diffusers' text-to-image example, where codec and text encoder run too."""
    resolution = settings.data.resolution
    with tempfile.TemporaryDirectory() as folder:
        learner = Stored(settings, stored_images(Path(folder) / "moments", resolution))
        loop = Loop(learner, settings, settings.train, Path(folder) / "run", cpu=not torch.cuda.is_available())
        batches = learner.batches(0, 1, 0)
        theirs = example_step(settings, loop.accelerator)
        began, learner.waited = clock(), 0.0
        for _ in range(3):
            loop.step(batches)
        share = learner.waited / (clock() - began)
        ratio = interleaved(lambda: loop.step(batches), theirs, PAIRS, clock)
        yield f"{what}: training step / diffusers' example", ratio, limit
        yield f"{what}: waiting for data, share of a step", share, 0.02


def example_step(settings: LatentJob, accelerator) -> Callable[[], None]:
    """The step of examples/text_to_image/train_text_to_image.py on the same network, batch and precision."""
    codec, task, denoiser = parts(settings)
    unet, schedule = denoiser.backbone.train(), DiffusionObjective(settings.objective).scheduler
    device, size = accelerator.device, settings.train.batch_size
    codec, task, unet = codec.to(device), task.to(device), unet.to(device)
    optimizer = torch.optim.AdamW(unet.parameters(), lr=settings.train.learning_rate)
    pixels = torch.rand(size, 1, *[settings.data.resolution] * 2, device=device) * 2 - 1

    def step() -> None:
        with accelerator.autocast():
            with torch.no_grad():
                moments = codec.moments(pixels)
                latents = codec.sample(moments.float(), torch.randn_like(moments[:, : moments.shape[1] // 2]))
                states = task.text([PROMPT] * size)[0]
            noise = torch.randn_like(latents)
            times = torch.randint(0, schedule.config.num_train_timesteps, (size,), device=device)
            noisy = schedule.add_noise(latents, noise, times)
            target = schedule.get_velocity(latents, noise, times)
            output = unet(noisy, times, states, return_dict=False)[0]
            loss = nn.functional.mse_loss(output.float(), target.float())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(unet.parameters(), settings.train.clip_norm)
        optimizer.step()
        optimizer.zero_grad()

    return step


if __name__ == "__main__":
    sys.exit(report((few_steps, training_steps), "bench_speed.json"))
