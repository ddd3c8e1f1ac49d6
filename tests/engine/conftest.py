"""A run small enough to follow by hand: a line fitted to sixteen points."""

import math
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from accelerate.state import AcceleratorState
from safetensors.torch import save_file
from torch import nn

from gen.data.dataset import StepBatches
from gen.engine.learner import Learner
from gen.engine.loop import Loop
from gen.schema import TrainConfig

POINTS = 16


class LineLearner(Learner):
    """Noisy regression on fixed points; remembers the keys that it saw."""

    def __init__(self, config: TrainConfig, noise: float = 0.1) -> None:
        super().__init__()
        torch.manual_seed(config.seed)
        self.config, self.noise = config, noise
        self.trained = nn.ModuleDict({"line": nn.Linear(3, 1)})
        self.points = torch.randn(POINTS, 3, generator=torch.Generator().manual_seed(1))
        self.seen: list[list[int]] = []
        self.validations = 0
        self.steepest = math.inf

    def forward(self, batch: dict) -> dict:
        self.seen.append(batch["key"])
        output = self.trained["line"](batch["x"] + self.noise * torch.randn_like(batch["x"]))
        error = (output[:, 0] - batch["x"].sum(1)).square().mean()
        return {"error": error, "_figure": error.detach() + 1000}

    def batches(self, rank: int, world: int, start: int) -> Iterator[dict]:
        for rows in StepBatches(POINTS, self.config.batch_size, self.config.seed, rank, world, start):
            numbers = [row for row, _ in rows]
            yield {"x": self.points[numbers], "key": numbers}

    def validate(self, trained: nn.ModuleDict, folder: Path) -> dict:
        self.validations += 1
        return {"slope": trained["line"].weight.mean().item()}

    @property
    def may_end_early(self) -> bool:
        return self.steepest < math.inf

    def overdone(self, figures: dict) -> str:
        return "too steep" if figures["slope"] > self.steepest else ""

    def export(self, trained: nn.ModuleDict, folder: Path) -> None:
        save_file(trained.state_dict(), folder / "line.safetensors")


@pytest.fixture(autouse=True)
def fresh_accelerator(monkeypatch):
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    AcceleratorState._reset_state(True)
    yield
    AcceleratorState._reset_state(True)


@pytest.fixture
def make_loop(tmp_path):
    """A loop over the line: `make_loop(run="a", noise=0.1, steepest=0.5, **changes of the train config)`."""

    def make(run: str = "run", noise: float = 0.1, steepest: float = math.inf, **changes) -> Loop:
        values = {"steps": 10, "batch_size": 4, "learning_rate": 0.05, "lr_schedule": "constant", "log_every": 1}
        config = TrainConfig(**{**values, "checkpoint_every": 5, **changes})
        learner = LineLearner(config, noise)
        learner.steepest = steepest
        return Loop(learner, config, config, tmp_path / run, cpu=True)

    return make
