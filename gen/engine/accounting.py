"""Bytes that a recipe takes, counted on tensors without storage: any network and batch on any machine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from transformers import BertConfig, BertModel, PreTrainedModel

from gen.data.compose import prompt_corpus
from gen.engine.peak import Curve, PeakBytes
from gen.errors import UserError
from gen.models.codec import LatentCodec
from gen.models.condition import Condition
from gen.models.denoiser import Denoiser, build_denoiser
from gen.models.folders import read_settings
from gen.models.pixels import named_pixel_codec
from gen.models.text import ENCODERS, build_text_encoder, train_tokenizer, with_lora
from gen.objectives.diffusion import DiffusionObjective
from gen.pipeline import WEIGHTS
from gen.schema import LatentJob, TextConfig

BATCHES = (1, 4, 32)  # where curves are measured
RESERVED = 768 * 2**20  # of a GPU: the driver's context, workspaces of libraries, gaps between tensors
HALVES = {"auto": torch.bfloat16, "bf16": torch.bfloat16, "fp16": torch.float16, "no": torch.float32}
_words = cache(lambda: train_tokenizer(prompt_corpus()))
QUANTISED, BLOCK = 4096, 256  # torchao keeps smaller tensors in float32, and a scale for each block


@dataclass(frozen=True)
class Account:
    """Bytes of training in the recipe's precision, and of sampling in float16."""

    weights: int
    gradients: int
    optimizer: dict[str, int]  # by the name in train.optimizer
    averages: int
    activations: dict[bool, Curve]  # by whether they are checkpointed; besides the gradients
    sampling_weights: int
    denoising: Curve  # guided, so two calls at once
    decoding: Curve
    resolution: int  # at which the curves were measured
    notes: tuple[str, ...]

    def training_static(self, optimizer: str) -> int:
        """What training takes whatever the batch."""
        return self.weights + self.gradients + self.optimizer[optimizer] + self.averages

    def training(self, batch: int, checkpointing: bool, optimizer: str) -> float:
        """All of a step's bytes."""
        return self.training_static(optimizer) + self.activations[checkpointing].at(batch)

    def largest_training(self, memory: float, resolution: int, checkpointing: bool, optimizer: str) -> int:
        """Largest batch of a square of pixels that trains in a GPU's memory."""
        budget = memory - RESERVED - self.training_static(optimizer)
        return self.activations[checkpointing].largest(budget, self._share(resolution))

    def largest_sampling(self, memory: float, resolution: int, low_memory: bool = False) -> int:
        """Largest batch that can be drawn with guidance; low memory decodes one image at a time."""
        budget, share = memory - RESERVED - self.sampling_weights, self._share(resolution)
        drawn = self.denoising.largest(budget, share)
        decoded = self.decoding.largest(budget, share)
        return min(drawn, decoded) if not low_memory else drawn if decoded else 0

    def _share(self, resolution: int) -> float:
        """Layers and fused attention take memory nearly in proportion to the positions: a doubled side within 25 %."""
        return (resolution / self.resolution) ** 2


@dataclass
class Parts:
    """The modules of a recipe, without storage."""

    job: LatentJob
    codec: LatentCodec
    text: PreTrainedModel
    denoiser: Denoiser

    def condition(self, batch: int, dtype: torch.dtype = torch.float32) -> Condition:
        """Of as many prompts. Shapes: tokens [B, L, D]."""
        length = self.job.text.max_tokens
        tokens = self.text(torch.zeros(batch, length, dtype=torch.long)).last_hidden_state.to(dtype)
        mask = torch.ones(batch, length, dtype=torch.bool)
        return Condition(tokens, mask, tokens[:1].expand_as(tokens), mask)

    def latents(self, batch: int, dtype: torch.dtype = torch.float32) -> Tensor:
        """Shapes: [B, C, h, w]."""
        return torch.zeros(batch, *self.codec.latent_shape(self.job.data.resolution), dtype=dtype)

    def training(self, batch: int) -> int:
        """Peak bytes of one forward and backward pass, gradients included."""
        half = HALVES[self.job.train.mixed_precision]
        objective, z0 = DiffusionObjective(self.job.objective), self.latents(batch)
        with (
            PeakBytes(self.codec, self.text, self.denoiser) as bytes_,
            torch.autocast("cpu", half, enabled=half != torch.float32),
        ):
            losses = objective(self.denoiser, z0, self.condition(batch).drop(self.job.task.drop))
            sum(losses.values()).backward()
        self.denoiser.zero_grad(set_to_none=True)
        self.text.zero_grad(set_to_none=True)
        return bytes_.peak

    @torch.no_grad()
    def denoising(self, batch: int) -> int:
        """Peak bytes of one guided call."""
        condition, z = self.condition(batch, torch.float16).cat_null(), self.latents(batch, torch.float16)
        with PeakBytes(self.denoiser) as bytes_:
            self.denoiser(torch.cat([z, z]), torch.zeros(2 * batch), condition)
        return bytes_.peak

    @torch.no_grad()
    def decoding(self, batch: int) -> int:
        """Peak bytes of turning latents into images."""
        z = self.latents(batch, torch.float16)
        with PeakBytes(self.codec) as bytes_:
            self.codec.decode(z)
        return bytes_.peak


def account(job: LatentJob) -> Account:
    """Count what a text model's recipe takes; folders that are not there yet are stood in for, as the notes say.

    Errors: UserError for other tasks.
    """
    if job.task.name != "text":
        raise UserError(f"task.name={job.task.name}: memory is counted for task text; others add a conditioner to it")
    notes: list[str] = []
    with _default(torch.float16):
        with torch.device("meta"):
            text = _text(job.text, [])
        with FakeTensorMode(allow_non_fake_inputs=True):
            sampling = _sampling(_parts(job, text, []))
    with torch.device("meta"):
        text = _text(job.text, notes)
    with FakeTensorMode(allow_non_fake_inputs=True):
        training = _training(_parts(job, text, notes))
    return Account(**sampling, **training, notes=tuple(notes))


@contextmanager
def _default(dtype: torch.dtype) -> Iterator[None]:
    """New weights are of a type: those without storage cannot be converted."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def _sampling(parts: Parts) -> dict[str, Any]:
    """What an account says of sampling."""
    for part in (parts.codec, parts.text, parts.denoiser):
        part.eval()
    return {
        "sampling_weights": _held(parts.codec, parts.text, parts.denoiser),
        "denoising": Curve(tuple((batch, parts.denoising(batch)) for batch in BATCHES)),
        "decoding": Curve(tuple((batch, parts.decoding(batch)) for batch in BATCHES)),
        "resolution": parts.job.data.resolution,
    }


def _training(parts: Parts) -> dict[str, Any]:
    """What an account says of training."""
    trained = [p for part in (parts.text, parts.denoiser) for p in part.parameters() if p.requires_grad]
    gradients, curves = sum(_bytes(p) for p in trained), {}
    for checkpointing in (False, True):
        _checkpoint(parts.denoiser, checkpointing)
        curves[checkpointing] = Curve(tuple((batch, parts.training(batch) - gradients) for batch in BATCHES))
    return {
        "weights": _held(parts.codec, parts.text, parts.denoiser),
        "gradients": gradients,
        "optimizer": {"adamw": 2 * gradients, "adamw8bit": 2 * sum(map(_quantised, trained))},
        "averages": _held(parts.text, parts.denoiser),
        "activations": curves,
    }


def _parts(job: LatentJob, text: PreTrainedModel, notes: list[str]) -> Parts:
    codec = named_pixel_codec(str(job.codec)) or _trained_codec(job.codec, notes)
    (channels, side, _), width = codec.latent_shape(job.data.resolution), text.config.hidden_size
    return Parts(job, codec, _on_cpu(text), build_denoiser(job.denoiser, channels, side, width).train())


def _trained_codec(folder: Path, notes: list[str]) -> LatentCodec:
    if not (folder / "config.json").is_file():
        notes.append(f"codec={folder} is not here yet: counted as the shipped one")
        folder = WEIGHTS / "text_256" / "vae"
    return LatentCodec.from_config(LatentCodec.load_config(folder)).requires_grad_(False)


def _on_cpu(model: PreTrainedModel) -> PreTrainedModel:
    """A model of the meta device among tensors that say they are on a CPU: with its kernels, fused attention too."""
    for module in model.modules():
        for name, weight in module.named_parameters(recurse=False):
            made = torch.empty(weight.shape, dtype=weight.dtype)
            module.register_parameter(name, nn.Parameter(made, weight.requires_grad))
        for name, buffer in module.named_buffers(recurse=False):
            setattr(module, name, torch.empty(buffer.shape, dtype=buffer.dtype))
    return model


def _text(config: TextConfig, notes: list[str]) -> PreTrainedModel:
    """The text encoder, frozen but for what the config trains; adapters cannot be put into tensors of a fake mode."""
    settings = Path(config.model or "") / config.subfolder / "config.json"
    if config.model is not None and settings.is_file():
        values = read_settings(settings)
        kind = ENCODERS[values["model_type"]]
        model = kind(kind.config_class.from_dict(values))
    elif config.model is not None and config.revision is not None:
        notes.append(f"text.model={config.model} is not here: counted as a BERT of base size")
        model = BertModel(BertConfig(), add_pooling_layer=False)
    else:
        if config.model is not None:
            notes.append(f"text.model={config.model} is not here yet: counted as the small encoder")
        own = config.model_copy(update={"model": None, "lora_rank": 0})
        model = build_text_encoder(own, _words()).model
    if config.lora_rank:
        return with_lora(model, config.lora_rank)
    return model.requires_grad_(config.trainable)


def _checkpoint(denoiser: Denoiser, wanted: bool) -> None:
    if wanted:
        denoiser.backbone.enable_gradient_checkpointing()
    else:
        denoiser.backbone.disable_gradient_checkpointing()


def _bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()


def _held(*modules: nn.Module) -> int:
    return sum(_bytes(tensor) for module in modules for tensor in (*module.parameters(), *module.buffers()))


def _quantised(parameter: Tensor) -> int:
    """Bytes of one 8-bit moment (arXiv 2110.02861): a byte a weight, a scale a block, a table of 256 values."""
    if parameter.numel() < QUANTISED or parameter.numel() % BLOCK:
        return 4 * parameter.numel()
    return parameter.numel() + 4 * parameter.numel() // BLOCK + 4 * 256
