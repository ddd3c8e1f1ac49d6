"""Getting a model ready, and asking it for a batch: always of the same size, and of half of it where memory ends."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from gen.choices import Attention, Compile
from gen.errors import UserError

from .given import Given, draw_given
from .writers import Picture

if TYPE_CHECKING:
    from gen import CXRPipeline

Device = Literal["auto", "cpu", "cuda"]
Dtype = Literal["auto", "float32", "float16", "bfloat16"]
Settings = dict[str, str]

Revision = Annotated[str | None, typer.Option(help="commit or tag of a hub model")]
OnDevice = Annotated[Device, typer.Option(help="where to compute; auto takes a GPU if there is one")]
InDtype = Annotated[Dtype, typer.Option(help="precision; auto is the fastest that is right on this machine")]
OfAttention = Annotated[
    Attention, typer.Option("--attention", help="attention kernels; xformers needs a GPU and the extra [xformers]")
]
Compiled = Annotated[
    Compile, typer.Option("--compile", help="torch.compile of the denoiser; reduce-overhead replays CUDA graphs")
]
LowMemory = Annotated[
    bool, typer.Option("--low-memory", help="decode images one by one; a GPU also keeps only what works at the time")
]


def load_pipeline(
    model: str | None = None,
    revision: str | None = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    attention: Attention = "sdpa",
    compiled: Compile = "off",
    low_memory: bool = False,
    difference: bool = False,
) -> CXRPipeline:
    """The shipped model or any other, on a device; `auto` takes a GPU where there is one, and gen.models.speed's dtype.

    `difference` says that the model finds a small difference of large numbers. What compiling costs is told on stderr.
    Under `accelerate launch` each process takes the GPU of its local rank.
    """
    import torch
    from diffusers.utils import logging as diffusers_logging
    from transformers.utils import logging as transformers_logging

    from gen.calls.execution import place
    from gen.models.speed import fastest_dtype
    from gen.pipeline import DEFAULT_MODEL, CXRPipeline

    if device == "cuda" and not torch.cuda.is_available():
        raise UserError("--device cuda: no usable GPU here; use --device cpu")
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if attention == "xformers" and device == "cpu":
        raise UserError("--attention xformers: runs on a GPU only; leave it at sdpa on a CPU")
    torch_dtype = fastest_dtype(device, difference) if dtype == "auto" else getattr(torch, dtype)
    diffusers_logging.disable_progress_bar()
    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()  # its report on the pooler, which no denoiser uses, fills a page
    pipeline = CXRPipeline.from_pretrained(model or DEFAULT_MODEL, revision, torch_dtype)
    if device == "cuda":
        device = f"cuda:{int(os.environ.get('LOCAL_RANK', 0)) % torch.cuda.device_count()}"
    place(pipeline, torch.device(device), low_memory)
    return pipeline.set_execution(attention, compiled, low_memory, say=partial(typer.echo, err=True))


def settings_of(pipeline: CXRPipeline, steps: int | None, guidance: float | None) -> Settings:
    """What decides how an image of a given prompt and seed looks."""
    return {
        "model": pipeline.config.name,
        "model_hash": pipeline.model_hash,
        "steps": str(pipeline.config.steps if steps is None else steps),
        "guidance": str(float(pipeline.config.guidance if guidance is None else guidance)),
        "scheduler": type(pipeline.scheduler).__name__,
        "dtype": str(pipeline.dtype).removeprefix("torch."),
    }


@dataclass
class Painter:
    """A pipeline with its settings.

    Kernels round differently at another batch size, but not at another place in a batch that the threads divide evenly:
    `padded` batches are filled up to the first multiple of the threads from `size` on, so that an image has the same
    bits whatever it is drawn together with.
    """

    pipeline: CXRPipeline
    settings: Settings
    size: int
    padded: bool
    notes: list[str] = field(default_factory=list)  # what went on that a user should hear of

    def paint(self, prompts: Sequence[str], seeds: Sequence[int], given: Sequence[Given] = ()) -> list[Picture]:
        """Draw images, `size` at once, each from what is given besides its prompt.

        The size is halved for good when a batch does not fit into memory.
        Errors: UserError when not even one image fits.
        """
        from torch import OutOfMemoryError

        pictures: list[Picture] = []
        while len(pictures) < len(prompts):
            chunk = slice(len(pictures), len(pictures) + self.size)
            try:
                pictures += self._batch(prompts[chunk], seeds[chunk], given[chunk])
            except OutOfMemoryError as error:
                self._halve(str(error).splitlines()[0])
        return pictures

    def _batch(self, prompts: Sequence[str], seeds: Sequence[int], given: Sequence[Given]) -> list[Picture]:
        filling = self._filled() - len(prompts) if self.padded else 0
        texts, numbers, filled = ([*part, *part[-1:] * filling] for part in (prompts, seeds, given))
        settings = {"steps": int(self.settings["steps"]), "guidance": float(self.settings["guidance"])}
        if any(filled):
            drawn = draw_given(self.pipeline, texts, numbers, filled, **settings)
        else:
            drawn = self.pipeline(texts, seed=numbers, output_type="np", progress=False, **settings)
        pairs = zip(drawn.images, drawn.records, strict=True)
        return [Picture(pixels, record) for _, (pixels, record) in zip(prompts, pairs, strict=False)]

    def _filled(self) -> int:
        """Images of a padded batch."""
        import torch

        threads = torch.get_num_threads() if self.pipeline._execution_device.type == "cpu" else 1
        return -(-self.size // threads) * threads

    def _halve(self, reason: str) -> None:
        import torch

        if self.size == 1:
            raise UserError(f"out of memory with one image ({reason}); use a smaller model, --dtype or a larger GPU")
        self.size //= 2
        self.notes.append(f"out of memory: going on with batches of {self.size} ({reason})")
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
