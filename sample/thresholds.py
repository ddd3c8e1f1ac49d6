"""From which scores on a gate lets an image through; set on real radiographs by `cxr-sample calibrate`."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from gen.config import load_config
from gen.schema import Strict

USED_BY = {"view": ("view",), "demographics": ("sex", "age"), "labels": ("labels",), "memory": ("false_alarms",)}
USED_BY |= {"memory-pixels": ("false_alarms",)}


class Thresholds(Strict):
    """Least scores; those of the reader let through the share `keep` of the real radiographs they were set on."""

    view: float = Field(0.05, ge=0, le=1, description="least probability of the view asked for")
    sex: float = Field(0.05, ge=0, le=1, description="least probability of the sex asked for")
    age: float = Field(35.0, gt=0, description="greatest error of the age, years")
    labels: dict[str, float] = Field(default_factory=dict, description="least probability of each finding asked for")
    false_alarms: float = Field(1e-3, gt=0, lt=0.5, description="share of innocent images that memory gates may reject")
    keep: float = Field(0.95, gt=0, le=1, description="share of real radiographs that pass each threshold")

    def said(self, gate: str) -> str:
        """The thresholds that one gate uses, as text."""
        return ", ".join(f"{name} {getattr(self, name)}" for name in USED_BY.get(gate, ()))


def read_thresholds(path: Path | None) -> Thresholds:
    """Thresholds of a YAML file; the built-in ones without a file."""
    return Thresholds() if path is None else load_config(Thresholds, path)
