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


class BoneTaskConfig(AnyTaskConfig):
    """A radiograph to its soft-tissue image."""

    name: Literal["bone"] = "bone"
    drop: float = Field(0.0, ge=0, le=0, description="the radiograph is never left out")
    residual: float | None = Field(
        None,
        gt=0,
        description="draw soft tissue less radiograph in this unit of whitened latents; None draws the image",
    )


TaskConfig = Annotated[TextTaskConfig | BoneTaskConfig, Field(discriminator="name")]
