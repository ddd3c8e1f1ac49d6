"""The one training loop. Running the same command again resumes it; see gen.engine.learner for what it trains."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from tqdm import tqdm

from gen import seeds
from gen.engine import checkpoint, metrics
from gen.engine.finiteness import FiniteCheck
from gen.engine.learner import Learner
from gen.engine.optimizers import set_rate
from gen.engine.placement import place
from gen.engine.preemption import Preemption
from gen.engine.processes import on_cpu, precision
from gen.engine.validation import Validation
from gen.models.speed import compile_blocks, use_xformers
from gen.schema import Strict, TrainConfig


def learning_rate(config: TrainConfig, step: int, progress: float) -> float:
    """Linear warm-up, then constant or half a cosine down to zero over `progress` in [0, 1]."""
    warm = min(1.0, (step + 1) / max(1, config.warmup_steps))
    if config.lr_schedule == "cosine":
        warm *= 0.5 + 0.5 * math.cos(math.pi * min(1.0, progress))
    return config.learning_rate * warm


class Loop:
    """State of one run: accelerator, optimizer, averages and how far it has come."""

    def __init__(self, learner: Learner, job: Strict, config: TrainConfig, run: Path, cpu: bool = False) -> None:
        self.learner, self.config, self.run = learner, config, run
        self.validation, self.overdone = Validation(learner, run), False
        self.accelerator = Accelerator(
            mixed_precision=precision(config.mixed_precision, cpu or on_cpu()),
            log_with=list(config.trackers) or None,
            project_dir=str(run),
            cpu=cpu or on_cpu(),
            step_scheduler_with_optimizer=False,
        )
        self.finite = FiniteCheck(self.accelerator, run)
        if self.main:
            checkpoint.claim_run(run, job, learner.data_fingerprint())
        self.accelerator.wait_for_everyone()
        if config.attention == "xformers":
            use_xformers(learner.trained)
        if config.compile:
            compile_blocks(learner.trained)
        self.placed = place(self.accelerator, learner, config)
        self.progress = checkpoint.load_latest(self.placed, run)
        if config.trackers:
            self.accelerator.init_trackers("cxr-gen", config=metrics.flat(job.model_dump(mode="json")))

    @property
    def main(self) -> bool:
        """Whether this process writes files and shows progress."""
        return self.accelerator.is_main_process

    # ---- one step -------------------------------------------------------------------------------------------

    def step(self, batches: Iterator[dict]) -> dict[str, Tensor]:
        """One optimizer step over `accumulation` micro-batches; returns detached losses and the gradient norm."""
        step = self.progress["step"]
        seeds.seed_step(self.config.seed, self.accelerator.process_index, step)
        set_rate(self.placed.optimizer, learning_rate(self.config, step, self.fraction()))
        totals: dict[str, Tensor] = {}
        for micro in range(self.config.accumulation):
            batch = to_device(next(batches), self.accelerator.device)
            last = micro == self.config.accumulation - 1
            with self.placed.sync(last), self.accelerator.autocast():
                losses = self.placed.model(batch)
                loss = sum(value for name, value in losses.items() if not name.startswith("_"))
                self.accelerator.backward(loss / self.config.accumulation)
            for name, value in {**losses, "loss": loss}.items():
                share = value.detach() / self.config.accumulation
                totals[name] = totals[name] + share if name in totals else share
            self.finite.check(step)
            self.finite.note(loss, batch)
        norm = self.placed.clip(self.config.clip_norm)
        totals["grad_norm"] = norm
        if self.accelerator.scaler is None:  # a gradient scaler skips steps whose gradients overflow, and goes on
            self.finite.note(loss, batch, norm)
        self.placed.optimizer.step()
        self.placed.optimizer.zero_grad(set_to_none=True)
        self.placed.ema.update_parameters(self.learner.trained)
        self.learner.stepped()
        return totals

    # ---- the run --------------------------------------------------------------------------------------------

    def fraction(self) -> float:
        """How much of the run is done: all if it is overdone, else by steps or by the clock, whichever is later."""
        by_steps = 1.0 if self.overdone else self.progress["step"] / self.config.steps
        if self.config.minutes is None:
            return by_steps
        return max(by_steps, self.progress["seconds"] / (60 * self.config.minutes))

    def train(self) -> Path:
        """Train until the end and return the export folder. Exits cleanly with saved state when asked to stop."""
        world, rank = self.accelerator.num_processes, self.accelerator.process_index
        start = self.progress["step"] * self.config.accumulation
        batches = iter(self.learner.batches(rank, world, start))
        if self.main and (figures := metrics.rewind(self.run / "metrics.jsonl", self.progress["step"])) is not None:
            self.validation.last = (self.progress["step"], figures)
        self.overdone = self._agreed(self.validation.overdone())
        whole = self._go_on(batches)
        if whole:
            self._finish()
        else:
            self._say(f"stopped at step {self.progress['step']}, state saved; run the same command to go on")
        self._leave()
        if not whole:
            raise SystemExit(0)
        return self.run / "export"

    def _go_on(self, batches: Iterator[dict]) -> bool:
        """Train and save; returns whether the end was reached, and not a request to stop."""
        preemption, bar, stopped = Preemption(), self._bar(), False
        try:
            while not stopped and self.fraction() < 1:
                self._advance(batches, bar)
                stopped = self._agreed(preemption.requested)
            self._save()
            return not stopped
        finally:
            bar.close()
            preemption.restore()

    def _bar(self) -> tqdm:
        """Progress in steps, or in seconds where the clock decides."""
        if self.config.minutes is None:
            return tqdm(total=self.config.steps, initial=self.progress["step"], disable=not self.main, unit="step")
        limit, spent = round(60 * self.config.minutes), int(self.progress["seconds"])
        return tqdm(total=limit, initial=min(spent, limit), disable=not self.main, unit="s")

    def _advance(self, batches: Iterator[dict], bar: tqdm) -> None:
        began = time.perf_counter()
        losses = self.step(batches)
        self.progress["step"] += 1
        self.progress["seconds"] += time.perf_counter() - began
        step = self.progress["step"]
        bar.update(1 if self.config.minutes is None else min(int(self.progress["seconds"]), bar.total) - bar.n)
        if step % self.config.log_every == 0:
            self._log(losses, bar)
        if step % self.config.checkpoint_every == 0:
            self._save()
        if self.config.validate_every and step % self.config.validate_every == 0:
            self._validate(self.placed.averaged())

    def _agreed(self, mine: bool) -> bool:
        if self.config.minutes is not None:  # ranks measure time apart: the first one's clock decides
            self._share_clock()
        if self.accelerator.num_processes == 1:
            return mine
        flag = torch.tensor(float(mine), device=self.accelerator.device)
        return bool(self.accelerator.reduce(flag, reduction="sum") > 0)

    def _share_clock(self) -> None:
        if self.accelerator.num_processes > 1:
            clock = torch.tensor(self.progress["seconds"], dtype=torch.float64, device=self.accelerator.device)
            self.progress["seconds"] = float(self.accelerator.reduce(clock, reduction="mean"))

    def _log(self, losses: dict[str, Tensor], bar: tqdm) -> None:
        self.finite.check(self.progress["step"])
        if not self.main:
            return
        line = {name: float(value) for name, value in losses.items()}
        line |= {"lr": float(self.placed.optimizer.param_groups[0]["lr"]), "step": self.progress["step"]}
        line |= {"seconds": round(self.progress["seconds"], 3)}
        metrics.append(self.run / "metrics.jsonl", line)
        self.accelerator.log(line, step=self.progress["step"])
        bar.set_postfix(step=self.progress["step"], loss=f"{line['loss']:.4f}")

    def _save(self) -> None:
        self.finite.check(self.progress["step"])
        if not (self.run / "state" / f"step-{self.progress['step']}" / "progress.json").is_file():
            checkpoint.save_state(self.accelerator, self.placed, self.run, self.progress)

    def _validate(self, averaged: nn.ModuleDict) -> dict[str, float]:
        figures: dict[str, float] = {}
        if self.main:
            new = self.validation.last[0] != self.progress["step"]
            figures = self.validation.figures(averaged, self.progress["step"])
            if new:
                self.accelerator.log(figures, step=self.progress["step"])
        self.overdone = self._agreed(self.validation.overdone())
        self.accelerator.wait_for_everyone()
        return figures

    def _finish(self) -> None:
        averaged = self.placed.averaged()
        figures = self._validate(averaged)
        if self.main:
            if self.overdone:
                self._say(self.validation.restore(averaged))
                figures = self.validation.again(averaged)
            summary = {"figures": figures, "data": self.learner.data_fingerprint(), **self.progress}

            def write(folder: Path) -> None:
                self.learner.export(averaged, folder)
                (folder / "config.yaml").write_text((self.run / "config.yaml").read_text())
                (folder / "run.json").write_text(json.dumps(summary, indent=1))

            checkpoint.replace_folder(self.run / "export", write)
            self._say(f"exported {self.run / 'export'}  {figures}")

    def _leave(self) -> None:
        """Let trackers and the group of ranks go, once all have come as far."""
        self.accelerator.wait_for_everyone()
        self.accelerator.end_training()
        self.placed.close()

    def _say(self, text: str) -> None:
        if self.main:
            tqdm.write(text)


def to_device(batch: dict, device: torch.device) -> dict:
    """Move the tensors of a batch."""
    return {k: v.to(device, non_blocking=True) if isinstance(v, Tensor) else v for k, v in batch.items()}
