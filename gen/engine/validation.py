"""Figures on held-out data while a run is trained, and the weights of before, should they tell that it is overdone."""

from __future__ import annotations

from pathlib import Path

from safetensors import safe_open
from safetensors.torch import load_model, save_model
from torch import nn

from gen.engine import metrics
from gen.engine.learner import Learner
from gen.errors import UserError
from gen.files import replacing

KEPT = "kept.safetensors"


class Validation:
    """What the main process does at a validation; each step is judged once, in a resumed run, too."""

    def __init__(self, learner: Learner, run: Path) -> None:
        self.learner, self.run = learner, run
        self.last: tuple[int, dict[str, float]] = (-1, {})  # step and figures

    def figures(self, averaged: nn.ModuleDict, step: int) -> dict[str, float]:
        """Of these weights, with pictures in samples/; averages that a learner may come back to are kept."""
        if self.last[0] != step:
            found = self._validated(averaged, f"step-{step:07d}")
            metrics.append(self.run / "metrics.jsonl", {"step": step, "validation": found})
            self.last = (step, found)
            if self.learner.may_end_early and not self.learner.overdone(found):
                self._keep(averaged, step)
        return self.last[1]

    def overdone(self) -> bool:
        """Whether by the last figures, of which other ranks have none, training should end."""
        return bool(self.last[1]) and bool(self.learner.overdone(self.last[1]))

    def again(self, averaged: nn.ModuleDict) -> dict[str, float]:
        """Figures of weights that were put back; they stand in metrics.jsonl already."""
        return self._validated(averaged, "kept")

    def kept_step(self) -> int | None:
        """The last step whose weights were not overdone, if there was one."""
        if not (self.run / KEPT).is_file():
            return None
        with safe_open(self.run / KEPT, "pt") as kept:
            return int(kept.metadata()["step"])

    def restore(self, averaged: nn.ModuleDict) -> str:
        """Put back the weights of before; returns a line that says so.

        Errors: UserError where the first validation was overdone already.
        """
        reason, step = self.learner.overdone(self.last[1]), self.kept_step()
        if step is None:
            raise UserError(
                f"{self.run}: {reason} at the first validation; train on more images, or validate sooner "
                "(train.validate_every) into another run="
            )
        load_model(averaged, self.run / KEPT)
        return f"{reason} at step {self.last[0]}: ended early, with the weights of step {step}"

    def _validated(self, averaged: nn.ModuleDict, name: str) -> dict[str, float]:
        folder = self.run / "samples" / name
        folder.mkdir(parents=True, exist_ok=True)
        return self.learner.validate(averaged, folder)

    def _keep(self, averaged: nn.ModuleDict, step: int) -> None:
        with replacing(self.run / KEPT) as temporary:
            save_model(averaged, str(temporary), {"step": str(step)})
