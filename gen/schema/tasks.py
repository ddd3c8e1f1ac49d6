"""Settings of the tasks: one class a task, told apart by `name`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from gen.schema.base import Strict


class AnyTaskConfig(Strict):
    """What every task has."""

    drop: float = Field(0.1, ge=0, le=1, description="probability that a sample's condition is replaced by the null")


class TextTaskConfig(AnyTaskConfig):
    """A prompt, and nothing else."""

    name: Literal["text"] = "text"


class ViewTaskConfig(AnyTaskConfig):
    """A view, a prompt and other images of the study."""

    name: Literal["view"] = "view"
    part_drop: float = Field(
        0.2, ge=0, le=1, description="probability that prompt, view, angle or one context image is left out by itself"
    )
    grid: int = Field(8, gt=0, description="tokens of a context image, a side")
    hidden: int = Field(64, gt=0, description="channels of the first layer over context images")


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
        description="draw soft tissue less radiograph in this unit of whitened latents; None draws the image",
    )


TaskConfig = Annotated[
    TextTaskConfig | ViewTaskConfig | InpaintTaskConfig | BoneTaskConfig, Field(discriminator="name")
]
