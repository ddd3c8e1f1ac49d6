"""Drawing a plan: one worker's share of it, from the claim on the folder to the finished set."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .claims import claim
from .finish import finish
from .gating import Gating
from .interrupt import Interrupt
from .loop import Loop
from .models import Painter, Settings, settings_of
from .packing import set_writer
from .parts import Parts
from .plan import Plan
from .progress import Bar, Figures, LiveSheet
from .resume import State, complete, prepare, state
from .split import Shard
from .store import Folder, Store
from .writers import REJECTS, Format, Loose, png

if TYPE_CHECKING:
    from gen import CXRPipeline

    from .gates import Gate


@dataclass(frozen=True)
class Order:
    """How a plan is drawn; what stands above `per_file` decides what the images are."""

    format: Format = "png"
    steps: int | None = None
    guidance: float | None = None
    batch_size: int = 8
    max_tries: int = 1
    gating: Gating = field(default_factory=Gating)  # names; the gates themselves are loaded where they are needed
    per_file: int = 1000  # images a packed file
    wandb: str | None = None  # project
    recheck: bool = False  # read every file again instead of trusting its size


@dataclass(frozen=True)
class Outcome:
    """What one worker leaves: how many of its images are done, and whether the whole set is."""

    done: int
    total: int
    complete: bool


@dataclass(frozen=True)
class Worker:
    """One of any number of processes that draw a plan; none of them knows of the others."""

    pipeline: CXRPipeline
    plan: Plan
    store: Store
    order: Order
    shard: Shard
    gates: Sequence[Gate] = ()

    def draw(self) -> Outcome:
        """Draw what this worker's shard lacks; the same call again goes on where it was stopped.

        Errors: UserError for a folder that holds another set or a claimed shard; SystemExit 130 or 143 after a signal.
        """
        settings, runs = self.settings(), []
        if isinstance(self.store, Folder):
            self.store.make()
        with claim(
            self.store,
            self.shard,
            lambda alone: runs.append(prepare(self.store, self.plan, settings, self.shard, alone)),
        ):
            before = state(self.store, self.plan, self.shard, self.order.recheck)
            interrupt = self._draw(settings, before, runs[0])
            after = state(self.store, self.plan, self.shard)
            if after.done < after.total:
                interrupt.end(f"{after.done} of {after.total} images of shard {self.shard} are done")
            whole = complete(self.store, self.plan)
            if whole:
                finish(self.store, settings)
        return Outcome(after.done, after.total, whole)

    def settings(self) -> Settings:
        """Everything that decides what a set holds, and a hash of it."""
        order = self.order
        settings = settings_of(self.pipeline, order.steps, order.guidance)
        settings |= {"format": order.format, "batch_size": str(order.batch_size), "max_tries": str(order.max_tries)}
        if said := str(self.pipeline.execution):
            settings["execution"] = said  # kernels round differently
        settings["gates"] = "; ".join(f"{gate.name} {gate.settings}".rstrip() for gate in self.gates)
        digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()
        return settings | {"config_hash": digest[:12]}

    def _draw(self, settings: Settings, now: State, run: int) -> Interrupt:
        order, shard, store = self.order, self.shard, self.store
        name = f"{shard.number}of{shard.count}"
        ending = "" if shard.count == 1 else f"-{name}"
        ledger = Parts(store, shard, run)
        figures = Figures(store, f"metrics{ending}.jsonl", now.total, now.done, order.wandb)
        sheet = LiveSheet(store, f"contact{ending}.png")
        painter = Painter(self.pipeline, settings, order.batch_size, padded=True)
        writer = set_writer(order.format, store, ledger.stem, order.per_file)
        rejects = Loose(store, png, ".png", REJECTS)
        with Bar(now.total, now.done) as bar:
            watchers = (bar, figures, sheet)
            loop = Loop(painter, settings, writer, rejects, ledger, self.gates, order.max_tries, watchers)
            interrupt = loop.run(now.items(self.plan))
        ledger.close()
        sheet.draw()
        figures.close()
        return interrupt
