"""Distilling a trained pipeline of any task into one that draws in a few steps."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from pydantic import Field, model_validator
from torch import Tensor, nn

from gen.data.dataset import collate, make_dataset
from gen.engine.ema import EMA
from gen.engine.learner import DatasetLearner
from gen.engine.loop import to_device
from gen.errors import UserError
from gen.models.denoiser import Denoiser, student_of
from gen.models.recoding import check_same_latents
from gen.models.weakening import weakened
from gen.objectives.consistency import ConsistencyObjective
from gen.objectives.flow import ConsistencyConfig
from gen.objectives.mean_velocity import MeanVelocityObjective
from gen.objectives.self_guidance import SelfGuidedObjective
from gen.pipeline import CXRPipeline
from gen.schema import DataConfig, Strict, TrainConfig
from gen.tasks.latents import target_latents, with_link_latents

SHOWN = 4  # held-out samples in a validation's picture
OBJECTIVES = {kind.name: kind for kind in (ConsistencyObjective, MeanVelocityObjective, SelfGuidedObjective)}
MOST_STEPS = 4  # powers of two: 1, 2, 4, 8

# what the low-rank adapters of LCM-LoRA sit on (Luo et al., arXiv 2311.05556)
ADAPTED = ("to_q", "to_k", "to_v", "to_out.0", "proj_in", "proj_out", "ff.net.0.proj", "ff.net.2", "conv1", "conv2")
ADAPTED += ("conv_shortcut", "downsamplers.0.conv", "upsamplers.0.conv", "time_emb_proj")


class DistillationJob(Strict):
    """train/lcm.py"""

    run: Path = Field(description="folder of states, export and metrics")
    data: DataConfig
    teacher: Path = Field(description="pipeline folder of any task; its codec and its task go into the student")
    guide: Path | None = Field(None, description="pipeline folder of a less trained teacher, to move away from")
    weakened: float | None = Field(
        None,
        ge=0,
        lt=1,
        description="in place of `guide`: the teacher, its coarsest blocks adding this share of theirs",
    )
    initialise_from: Path | None = Field(None, description="pipeline folder of a student whose weights start the run")
    initialise_over: Path | None = Field(
        None, description="what that student was distilled from: the change between the two is added to this teacher"
    )
    consistency: ConsistencyConfig
    lora_rank: int = Field(0, ge=0, description="0 trains all weights, >0 low-rank adapters, merged at export [lora]")
    steps: int = Field(4, gt=0, description="sampling steps that the exported student takes unless told otherwise")
    train: TrainConfig

    @model_validator(mode="after")
    def _guided(self) -> DistillationJob:
        if self.guide is not None and self.weakened is not None:
            raise ValueError("guide: another model or the weakened teacher; leave guide or weakened out")
        if (self.guide is None and self.weakened is None) != (self.consistency.guide_scale == 0):
            raise ValueError("guide: it, or weakened, goes with consistency.guide_scale > 0; set both or neither")
        if self.consistency.objective == "self_guided" and self.weakened is None:
            raise ValueError("weakened: consistency.objective=self_guided needs it; 0.7 is a start")
        if self.steps > self.consistency.grid:
            raise ValueError(f"steps={self.steps}: at most consistency.grid={self.consistency.grid}")
        if self.initialise_over is not None and self.initialise_from is None:
            raise ValueError("initialise_over: goes with initialise_from, the student that was distilled from it")
        return self


class DistillationLearner(DatasetLearner):
    """Codec, task and teacher (frozen), a student (trained) and its average, which gives the target."""

    def __init__(self, job: DistillationJob) -> None:
        super().__init__()
        self.job = job
        source = CXRPipeline.from_pretrained(job.teacher)
        self.settings = source.config
        if source.config.resolution != job.data.resolution:
            raise UserError(f"data.resolution={job.data.resolution}: the teacher draws {source.config.resolution} px")
        self.codec = source.vae.requires_grad_(False).eval()
        self.task = source.task.requires_grad_(False).eval()
        self.teacher = Denoiser(source.unet).requires_grad_(False).eval()
        self.dataset, self.held_out = (
            make_dataset(job.data, split, job.train.seed, job.run, self.task.needs, self.task.rows)
            for split in ("train", "val")
        )
        if self.dataset.store is not None:
            self.dataset.store.check_codec(self.codec.signature().tolist())
        student = begun(job, self.teacher).requires_grad_(True)
        if job.initialise_over is not None:
            add_change(job.initialise_from, job.initialise_over, student)
        elif job.initialise_from is not None:
            start_from(job.initialise_from, student)
        if job.lora_rank:
            with_adapters(student, job.lora_rank)
        self.trained = nn.ModuleDict({"denoiser": student})
        self.target = EMA(student, job.consistency.target_decay).requires_grad_(False)
        self.guide = guide_of(job, source)
        self.objective = OBJECTIVES[job.consistency.objective](
            job.consistency, source.scheduler, self.teacher, self.target.module, self.guide
        )

    def shards(self) -> list[nn.Module]:
        """The student, its average and its teachers."""
        return [
            module
            for module in (self.trained["denoiser"], self.target.module, self.teacher, self.guide)
            if module is not None
        ]

    def forward(self, batch: dict) -> dict[str, Tensor]:
        """Loss of a batch of moments, or of pixels where no moments are cached."""
        with torch.no_grad():
            batch = with_link_latents(self.codec, batch)
            z0 = self.task.drawn(target_latents(self.codec, batch), batch)
            condition = self.task(batch | {"parts": "some"})  # what a teacher may do without, so may its student
        return self.objective(self.trained["denoiser"], z0, condition)

    def stepped(self) -> None:
        """Move the target towards the student."""
        self.target.update_parameters(self.trained["denoiser"])

    @torch.no_grad()
    def validate(self, trained: nn.ModuleDict, folder: Path) -> dict[str, float]:
        """A picture: the first held-out samples, drawn again from their conditions in 1, 2, 4 ... steps, a row each."""
        pipeline, rows = self.pipeline(trained), range(min(SHOWN, len(self.held_out)))
        batch = collate([self.held_out[row, row] for row in rows])
        batch = with_link_latents(self.codec, to_device(batch, self.codec.device))
        counts = [2**power for power in range(MOST_STEPS) if 2**power <= self.job.consistency.grid]
        drawn = [pipeline.draw(batch, steps=count, progress=False).images for count in counts]
        sheet = np.concatenate([np.concatenate([np.asarray(image) for image in row], axis=1) for row in drawn])
        Image.fromarray(sheet).save(folder / "samples.png")
        return {}

    def pipeline(self, trained: nn.ModuleDict) -> CXRPipeline:
        """The student as a pipeline of its teacher's task."""
        low, high = self.job.consistency.guidance
        pipeline = CXRPipeline.from_modules(
            self.codec,
            self.task,
            merged_adapters(trained["denoiser"]),
            self.objective.sampler,
            self.job.data.resolution,
        )
        pipeline.register_modules(scheduler=deepcopy(self.objective.sampler))
        guidance = min(max(float(self.settings.guidance), low), high)
        pipeline.register_to_config(name=f"{self.settings.name}-lcm", steps=self.job.steps, guidance=guidance)
        return pipeline

    def export(self, trained: nn.ModuleDict, folder: Path) -> None:
        """A pipeline folder."""
        self.pipeline(trained).save_pretrained(folder)


def begun(job: DistillationJob, teacher: Denoiser) -> Denoiser:
    """The student as it begins, its teacher's equal. Errors: UserError for a teacher of another kind."""
    if job.consistency.objective != "self_guided":
        return student_of(teacher, job.consistency.guidance_channels, job.consistency.jumps)
    if not teacher.embeds_end:
        raise UserError(f"teacher={job.teacher}: no student of mean velocities, which consistency.objective asks for")
    return deepcopy(teacher)


def start_from(folder: Path, student: Denoiser) -> None:
    """Give a student the weights of an earlier one, as where its teacher has been trained further since.

    Errors: UserError where that one is no student, or of other shapes.
    """
    weights = CXRPipeline.from_pretrained(folder).unet.state_dict()
    wanted = student.backbone.state_dict()
    if {name: w.shape for name, w in weights.items()} != {name: w.shape for name, w in wanted.items()}:
        raise UserError(f"initialise_from={folder}: no student of this teacher's shape and guidance_channels")
    student.backbone.load_state_dict(weights)


@torch.no_grad()
def add_change(folder: Path, over: Path, student: Denoiser) -> None:
    """Add to a student, still its teacher's equal, what distilling changed in another model of its kind.

    The acceleration vector of LCM-LoRA (arXiv 2311.05556). A first layer that reads more channels keeps those as they
    are. Errors: UserError where the two are not of the student's shapes.
    """
    after, before = (CXRPipeline.from_pretrained(path).unet.state_dict() for path in (folder, over))
    own = student.backbone.state_dict()  # shares its storage with the weights
    if set(after) != set(own) or not set(before) < set(own):
        raise UserError(f"initialise_from={folder}, initialise_over={over}: no student of this kind and its teacher")
    for name, weight in own.items():
        if name not in before:
            weight.copy_(after[name])
            continue
        change = after[name] - before[name]
        shared = weight[:, : change.shape[1]] if name == "conv_in.weight" else weight
        if shared.shape != change.shape:
            raise UserError(f"initialise_from={folder}: {name} has another shape than this teacher's")
        shared += change


def guide_of(job: DistillationJob, source: CXRPipeline) -> Denoiser | None:
    """What the teacher moves away from: its weaker self, a less trained model, or nothing."""
    if job.weakened is not None:
        return Denoiser(weakened(source.unet, job.weakened)).requires_grad_(False).eval()
    return None if job.guide is None else load_guide(job.guide, source)


def load_guide(folder: Path, source: CXRPipeline) -> Denoiser:
    """The denoiser of a less trained model that reads the teacher's latents and conditions.

    Errors: UserError where it reads others.
    """
    guide = CXRPipeline.from_pretrained(folder)
    check_same_latents(guide.vae, source.vae, f"guide={folder}")
    if guide.config.task != source.config.task or _widths(guide) != _widths(source):
        raise UserError(f"guide={folder}: reads other conditions than the teacher; take an earlier one of it")
    return Denoiser(guide.unet).requires_grad_(False).eval()


def _widths(pipeline: CXRPipeline) -> tuple:
    return tuple(pipeline.unet.config.get(name) for name in ("in_channels", "cross_attention_dim", "caption_channels"))


def with_adapters(student: Denoiser, rank: int) -> None:
    """Freeze the student but for low-rank adapters (arXiv 2106.09685) and what embeds guidance and end."""
    try:
        from peft import LoraConfig
    except ImportError:
        raise UserError("lora_rank: low-rank adapters need the extra: pip install 'cxr-gen[lora]'") from None
    student.requires_grad_(False)
    student.backbone.add_adapter(LoraConfig(r=rank, lora_alpha=rank, target_modules=list(ADAPTED)))
    student.backbone.time_embedding.cond_proj.requires_grad_(True)
    if student.embeds_end:
        student.backbone.add_embedding.requires_grad_(True)


def merged_adapters(student: Denoiser) -> Denoiser:
    """The plain denoiser behind adapters, a copy; the student itself where there are none."""
    if not getattr(student.backbone, "peft_config", None):
        return student
    backbone = deepcopy(student.backbone)
    backbone.fuse_lora()
    backbone.unload_lora()
    return Denoiser(backbone)
