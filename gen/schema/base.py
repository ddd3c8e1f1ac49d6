"""What every group of settings is."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Strict(BaseModel):
    """Settings that refuse unknown names and never change."""

    model_config = ConfigDict(extra="forbid", frozen=True)
