"""Every setting: one frozen model a part and a job, units and meaning in each field's description.

Numbers that define a result (learning rate, schedule, resolution) have no hidden default.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, PositiveInt, field_validator, model_validator

from gen.schema.base import Strict
from gen.schema.codec import CodecConfig, CodecLossConfig
from gen.schema.tasks import BoneTaskConfig, FollowConfig, TaskConfig


class DataConfig(Strict):
    """Where the radiographs are and how they become tensors."""

    index: Path = Field(description="index table written by cxr-index, Parquet or CSV")
    moments: Path | tuple[Path, ...] | None = Field(
        None, description="moments store written by train/encode.py, or several; None trains on pixels"
    )
    resolution: int = Field(gt=0, description="side of the square image, pixels")
    may_ship_only: bool = Field(False, description="use only rows whose licence lets trained weights be shared")
    events: Path | None = Field(None, description="events table of the temporal task; None looks beside the index")
    follow: FollowConfig = FollowConfig()
    repeat: dict[str, PositiveInt] = Field({}, description="times a source's training rows come in an epoch, else once")
    workers: int = Field(0, ge=0, description="data loading processes per rank")
    max_bad_share: float = Field(0.01, ge=0, lt=1, description="share of unreadable images that a job goes on without")


class TextConfig(Strict):
    """The text encoder: a small one trained here, or any Hugging Face encoder."""

    model: str | None = Field(None, description="hub id or folder of a Hugging Face encoder; None builds the small one")
    revision: str | None = Field(None, description="commit hash on the hub; required with a hub id")
    subfolder: str = Field("", description="folder of the encoder inside the model")
    trainable: bool = Field(True, description="train the encoder's weights too")
    lora_rank: int = Field(0, ge=0, description="0 trains all weights, >0 low-rank adapters (extra [lora])")
    max_tokens: int = Field(64, gt=0, description="tokens a prompt; longer prompts are cut")
    width: int = Field(192, description="width of the small encoder")
    layers: int = Field(3, description="layers of the small encoder")
    heads: int = Field(4, description="attention heads of the small encoder")


class UNetConfig(Strict):
    """diffusers UNet2DConditionModel."""

    kind: Literal["unet"] = "unet"
    block_out_channels: tuple[int, ...] = Field(description="widths, finest level first")
    layers_per_block: int = Field(2, description="residual blocks a level")
    attention_levels: tuple[bool, ...] = Field(description="cross- and self-attention at each level")
    head_channels: int = Field(64, description="channels of an attention head")
    guidance_channels: int = Field(0, ge=0, description="channels of an embedded guidance scale (distilled models)")
    summary: bool = Field(False, description="add the mean of the tokens to the time embedding, beside cross-attention")
    scales: bool = Field(False, description="the time embedding scales features as well as shifting them")
    gradient_checkpointing: bool = Field(False, description="trade time for memory in training")


class TransformerConfig(Strict):
    """A DiT-type transformer with cross-attention (diffusers PixArtTransformer2DModel)."""

    kind: Literal["transformer"] = "transformer"
    layers: int = Field(description="transformer blocks")
    heads: int = Field(description="attention heads a block")
    head_channels: int = Field(64, description="channels of an attention head")
    patch: int = Field(1, description="latent positions folded into a token, a side")
    gradient_checkpointing: bool = Field(False, description="trade time for memory in training")


DenoiserConfig = Annotated[UNetConfig | TransformerConfig, Field(discriminator="kind")]


class DiffusionConfig(Strict):
    """The diffusion objective."""

    prediction: Literal["epsilon", "v_prediction", "sample"] = Field(description="what the denoiser predicts")
    schedule: Literal["linear", "scaled_linear", "squaredcos_cap_v2"] = Field(description="noise schedule")
    steps: int = Field(1000, description="training time steps T")
    beta_start: float = Field(0.00085, description="first beta (linear schedules)")
    beta_end: float = Field(0.012, description="last beta (linear schedules)")
    zero_terminal_snr: bool = Field(False, description="rescale the schedule to zero signal at T (arXiv 2305.08891)")
    min_snr_gamma: float | None = Field(None, description="min-SNR loss weighting (arXiv 2303.09556); None is uniform")
    offset_noise: float = Field(0.0, description="standard deviation of a per-channel constant added to the noise")
    last: float = Field(
        0.0, ge=0, le=1, description="share of samples at the last time step, for models that are called once"
    )
    huber: float | None = Field(
        None, gt=0, description="error of a latent position, over its channels, from which loss is linear, not square"
    )
    scaled_condition: bool = Field(
        False, description="scale concatenated images by sqrt(alpha_bar) in training, as BS-LDM and GL-LCM do"
    )

    @model_validator(mode="after")
    def _solvable(self) -> DiffusionConfig:
        if self.zero_terminal_snr and self.prediction == "epsilon":
            raise ValueError("zero_terminal_snr needs prediction v_prediction or sample: pure noise says nothing of z0")
        return self


class TrainConfig(Strict):
    """The loop."""

    steps: int = Field(gt=0, description="optimizer steps")
    batch_size: int = Field(gt=0, description="samples a rank and micro-step")
    accumulation: int = Field(1, ge=1, description="micro-steps an optimizer step")
    optimizer: Literal["adamw", "adamw8bit"] = Field(
        "adamw", description="AdamW; adamw8bit keeps its moments in a byte a weight (extra [low-memory])"
    )
    learning_rate: float = Field(gt=0, description="peak learning rate")
    lr_schedule: Literal["constant", "cosine"] = Field(description="after the warm-up")
    warmup_steps: int = Field(0, ge=0, description="linear warm-up, optimizer steps")
    weight_decay: float = Field(0.01, ge=0, description="AdamW's, a step and unit of learning rate")
    betas: tuple[float, float] = Field((0.9, 0.99), description="AdamW moments")
    clip_norm: float = Field(1.0, gt=0, description="gradient norm limit")
    ema_decay: float = Field(0.999, ge=0, lt=1, description="decay of the averaged weights, warmed up")
    mixed_precision: Literal["auto", "no", "fp16", "bf16"] = Field(
        "no", description="autocast type; auto takes the fastest that the machine computes natively"
    )
    attention: Literal["sdpa", "xformers"] = Field("sdpa", description="kernels of the denoiser's attention")
    compile: bool = Field(False, description="compile the denoiser's blocks; the first step pays for it")
    sharded: bool = Field(
        False, description="spread weights, gradients and moments over the ranks (FSDP); else each has a copy (DDP)"
    )
    seed: int = Field(0, description="of every random draw")
    checkpoint_every: int = Field(500, gt=0, description="optimizer steps between saved states")
    log_every: int = Field(10, gt=0, description="optimizer steps between lines in metrics.jsonl")
    validate_every: int = Field(0, ge=0, description="optimizer steps between validations; 0 only at the end")
    trackers: tuple[Literal["wandb", "tensorboard"], ...] = Field((), description="besides metrics.jsonl")
    minutes: float | None = Field(None, gt=0, description="wall-clock limit; the schedule then follows the clock")

    @model_validator(mode="after")
    def _in_parts(self) -> TrainConfig:
        if self.sharded and self.optimizer == "adamw8bit":
            raise ValueError("sharded: parts of moments of 8 bits cannot be gathered; set optimizer=adamw")
        return self

    @field_validator("mixed_precision", mode="before")
    @classmethod
    def _no_is_a_word(cls, value: object) -> object:
        return "no" if value is False else value  # YAML reads no as false


class CodecJob(Strict):
    """train/vae.py"""

    run: Path = Field(description="folder of states, export and metrics")
    data: DataConfig
    codec: CodecConfig
    loss: CodecLossConfig
    crop: int = Field(gt=0, description="side of the square training crop, pixels")
    initialise_from: Path | None = Field(None, description="folder of a codec whose weights start the run")
    decoder_only: bool = Field(False, description="leave the encoder and its latents as they are")
    latent_noise: float = Field(
        0.0, ge=0, description="noise added to whitened latents of half the images, up to this standard deviation"
    )
    train: TrainConfig


class MemorisationConfig(Strict):
    """When training has gone on for too long: drawings that are copies of training images."""

    images: int = Field(64, ge=8, description="images drawn at each validation, by prompts of training images")
    limit: float = Field(
        0.05, gt=0, lt=1, description="share of copies among them above which training ends; weights of before are kept"
    )
    false_alarms: float = Field(
        0.001, gt=0, lt=0.1, description="share of real images of other patients that would pass for copies"
    )


class LatentJob(Strict):
    """train/ldm.py"""

    run: Path = Field(description="folder of states, export and metrics")
    data: DataConfig
    codec: Path = Field(description="folder of a trained codec; pixels does without one, pixels-8 folds 8 x 8 blocks")
    text: TextConfig
    denoiser: DenoiserConfig
    task: TaskConfig
    objective: DiffusionConfig
    train: TrainConfig
    validation_prompts: tuple[str, ...] = Field((), description="one image each is drawn at every validation")
    memorisation: MemorisationConfig | None = None
    initialise_from: Path | None = Field(None, description="pipeline folder whose weights start the run (fine-tuning)")
    low_rank: int = Field(0, ge=0, description="rank of the changes to those weights; 0 trains the weights themselves")
    deeper: tuple[int, ...] | None = Field(
        None, description="residual blocks a level that those weights are extended to, finest level first (UNets)"
    )

    @model_validator(mode="after")
    def _changes_of_something(self) -> LatentJob:
        for name in ("low_rank", "deeper"):
            if getattr(self, name) and self.initialise_from is None:
                raise ValueError(f"{name}: needs weights to start from; give initialise_from or leave it out")
        return self

    @model_validator(mode="after")
    def _from_words_alone(self) -> LatentJob:
        if self.memorisation is not None and self.task.name != "text":
            raise ValueError("memorisation: drawings of this task should resemble what it is given; leave it out")
        return self

    @model_validator(mode="after")
    def _folded(self) -> LatentJob:
        if isinstance(self.task, BoneTaskConfig) and self.task.first and not str(self.codec).startswith("pixels-"):
            raise ValueError("task.first reads pixels: it needs a codec that folds them, such as codec: pixels-8")
        return self


class TextEncoderJob(Strict):
    """train/text.py"""

    run: Path = Field(description="folder of states, export and metrics")
    text: TextConfig
    index: Path | None = Field(None, description="index whose training prompts lend the tokenizer their words")
    train: TrainConfig

    @model_validator(mode="after")
    def _small(self) -> TextEncoderJob:
        if self.text.model is not None:
            raise ValueError("text.model: this job trains the small encoder; a ready one needs no training here")
        return self


class EncodeJob(Strict):
    """train/encode.py"""

    data: DataConfig
    codec: Path = Field(description="folder of a trained codec")
    out: Path = Field(description="folder of the moments store")
    variants: int = Field(1, ge=1, description="variant 0 is the plain image, the others are augmented")
    columns: tuple[str, ...] = Field(("image",), description="index columns of images, such as image, soft")
    batch_size: int = Field(8, gt=0, description="images encoded at once by a process")
    seed: int = Field(0, description="of the augmentations")
