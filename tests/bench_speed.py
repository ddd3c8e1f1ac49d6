"""Speed of drawing in a few steps and of training, against diffusers' own: `python tests/bench_speed.py`.

Processor time on a CPU: what other programs take is not counted. Exit code 1 where a limit is missed.
"""

from __future__ import annotations

import copy
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel

from bench import PROMPT, Row, interleaved, report
from bench_models import BATCH, FEW, Stored, clock, few_step_pipeline, job, large_job, parts, spent, stored_images, told
from gen.engine.loop import Loop
from gen.models.codec import LatentCodec
from gen.models.speed import fastest_dtype
from gen.objectives.diffusion import DiffusionObjective
from gen.pipeline import CXRPipeline
from gen.schema import LatentJob

STOCK_STEPS = 50
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


def training_steps() -> Iterator[Row]:
    """Of both recipes; at 512 px our light codec is a twentieth of the denoiser and saves little: no limit there."""
    yield from training_step("256 px", job(), {"our codec": 1 / 1.5, "its own codec": 1 / 1.5})
    yield from training_step("512 px", large_job(), {"our codec": None, "its own codec": 1 / 1.5})


def training_step(what: str, settings: LatentJob, limits: dict[str, float | None]) -> Iterator[Row]:
    """A step on stored moments against diffusers' text-to-image example, where codec and text encoder run too.

    The example runs with our light codec, and with Stable Diffusion's, which is what it comes with.
    """
    resolution = settings.data.resolution
    with tempfile.TemporaryDirectory() as folder:
        learner = Stored(settings, stored_images(Path(folder) / "moments", resolution))
        loop = Loop(learner, settings, settings.train, Path(folder) / "run", cpu=not torch.cuda.is_available())
        batches = learner.batches(0, 1, 0)
        began, learner.waited = clock(), 0.0
        for _ in range(3):
            loop.step(batches)
        share = learner.waited / (clock() - began)
        codecs = {"our codec": lambda: learner.codec, "its own codec": stable_diffusion_codec}
        for codec, limit in limits.items():
            theirs = example_step(settings, loop.accelerator, codecs[codec]())
            ratio = interleaved(lambda: loop.step(batches), theirs, PAIRS, clock)
            yield f"{what}: training step / diffusers' example, {codec}", ratio, limit
        yield f"{what}: waiting for data, share of a step", share, 0.02


def stable_diffusion_codec() -> LatentCodec:
    """Of the size and form of Stable Diffusion's, with as many channels of latents as ours, random weights."""
    widths = (128, 256, 512, 512)
    autoencoder = AutoencoderKL(
        block_out_channels=widths,
        down_block_types=("DownEncoderBlock2D",) * len(widths),
        up_block_types=("UpDecoderBlock2D",) * len(widths),
        layers_per_block=2,
        latent_channels=8,
    )
    return LatentCodec.from_autoencoder(autoencoder).eval()


def example_step(settings: LatentJob, accelerator, codec: LatentCodec) -> Callable[[], None]:
    """The step of examples/text_to_image/train_text_to_image.py on the same network, batch and precision."""
    _, task, denoiser = parts(settings)
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
