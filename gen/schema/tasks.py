"""Settings of the tasks: one class a task, told apart by `name`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, PositiveInt, model_validator

from gen.schema.base import Strict


class AnyTaskConfig(Strict):
    """What every task has."""

    drop: float = Field(0.1, ge=0, le=1, description="probability that a sample's condition is replaced by the null")


class TextTaskConfig(AnyTaskConfig):
    """A prompt, and nothing else."""

    name: Literal["text"] = "text"


class EventsConfig(Strict):
    """The encoder of events (gen.models.events.EventsEncoder)."""

    codes: int = Field(2000, gt=0, description="most frequent codes that get a place of their own, the rest share one")
    vocabulary: dict[str, dict[str, str | float]] | None = Field(
        None, description="unit, centre and scale of each code; None reads them from the training rows"
    )
    width: int = Field(96, gt=0, description="channels of the transformer over the events")
    layers: int = Field(2, gt=0, description="its layers")
    heads: int = Field(4, gt=0, description="its attention heads")
    registers: int = Field(4, gt=0, description="tokens as which it hands the events on")


class TemporalTaskConfig(EventsConfig, AnyTaskConfig):
    """A prior radiograph, and the events and hours between it and the one to come."""

    name: Literal["temporal"] = "temporal"
    prior: Literal["spatial", "tokens", "both"] = Field(
        "spatial", description="the prior's latent as channels beside the noise, as tokens, or as both"
    )
    residual: float | None = Field(
        None,
        gt=0,
        strict=True,  # true, as recipes once had it, is no unit
        description="draw the change since the prior, in this unit of latents; None draws the image",
    )
    events: Literal["codes", "text"] = Field(
        "codes", description="an event's code is embedded, or its words are read by the text encoder"
    )
    drop_events: float = Field(0.1, ge=0, le=1, description="probability that the events alone are left out")
    events_from: Path | None = Field(
        None, description="run of train/contrastive.py on events whose encoder is the start; None starts from nothing"
    )

    @model_validator(mode="after")
    def _of_a_prior(self) -> TemporalTaskConfig:
        if self.residual is not None and self.drop:
            raise ValueError("task.residual: a change needs the prior, which task.drop would leave out; set it to 0")
        return self


class ViewTaskConfig(AnyTaskConfig):
    """A view, a prompt and other images of the study."""

    name: Literal["view"] = "view"
    part_drop: float = Field(
        0.2, ge=0, le=1, description="probability that prompt, view, angle or one context image is left out by itself"
    )
    grid: int = Field(8, gt=0, description="tokens of a context image, a side")
    hidden: int = Field(64, gt=0, description="channels of the first layer over context images")
    first: Path | None = Field(
        None,
        description="export folder of train/first_view.py: drawing begins with its answer, which the denoiser is shown",
    )


class InpaintTaskConfig(AnyTaskConfig):
    """A prompt and the surroundings of what is to be drawn."""

    name: Literal["inpaint"] = "inpaint"


class BoneTaskConfig(AnyTaskConfig):
    """A radiograph to its soft-tissue image."""

    name: Literal["bone"] = "bone"
    drop: float = Field(0.0, ge=0, le=0, description="the radiograph is never left out")
    residual: float | None = Field(
        None,
        gt=0,
        description="draw soft tissue less radiograph, in this unit of latents; None draws the image",
    )
    first: Path | None = Field(
        None, description="run of train/bone_regression.py whose answer stands in for the radiograph in `residual`"
    )

    @model_validator(mode="after")
    def _of_a_difference(self) -> BoneTaskConfig:
        if self.first is not None and self.residual is None:
            raise ValueError("task.first: what is left of a first answer needs task.residual, its unit")
        return self


AnyOne = TextTaskConfig | ViewTaskConfig | TemporalTaskConfig | BoneTaskConfig | InpaintTaskConfig
TaskConfig = Annotated[AnyOne, Field(discriminator="name")]


class FollowConfig(Strict):
    """Which pairs of an index a temporal model sees."""

    consecutive: bool = Field(False, description="only an image and the next one; else every earlier one is a prior")
    farthest: float = Field(8760, gt=0, description="most hours between the two")
    history: float = Field(0, ge=0, description="hours before the prior from which events still count")
    eventful: PositiveInt = Field(1, description="times that a training pair with events comes in an epoch")
    still: float = Field(
        0, ge=0, lt=1, description="share of null pairs: no events, the target a variant of the prior itself (EHRXDiff)"
    )
