"""Drawing a plan: one worker's share of it, from the claim on the folder to the finished set."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from . import duplicates
from .claims import claim
from .finish import finish
from .gating import Gating
from .interrupt import Interrupt
from .loop import Loop
from .models import Painter, Settings, settings_of
from .packing import set_writer
from .parts import Parts, next_run
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
        ) as alone:
            before = state(self.store, self.plan, self.shard, self.order.recheck)
            sheet = LiveSheet(self.store, f"contact{self._ending}.png")
            interrupt = self._draw(settings, before, runs[0], sheet)
            after = state(self.store, self.plan, self.shard) if len(before.todo) else before
            if after.done < after.total or self._weeds:
                interrupt.end(f"{after.done} of {after.total} images of shard {self.shard} are done")
            whole = complete(self.store, self.plan)
            if whole and self._weeds:
                whole = alone() and self._weed(settings, sheet)
            if whole:
                finish(self.store, settings)
        return Outcome(after.done, after.total, whole)

    @property
    def _ending(self) -> str:
        """Of the files that show this worker's progress."""
        return "" if self.shard.count == 1 else f"-{self.shard.number}of{self.shard.count}"

    @property
    def _weeds(self) -> bool:
        return duplicates.NAME in self.order.gating.names

    def _weed(self, settings: Settings, sheet: LiveSheet) -> bool:
        """Draw images anew until each shows a picture of its own or is given up; whether the set is whole then.

        Only for the one worker that is left.
        """
        duplicates.tidy(self.store)
        sieve = duplicates.Sieve(self.plan.ids)
        while complete(self.store, self.plan):
            sieve.look(self.store)
            repeats = sieve.repeats()
            if not repeats:
                return True
            duplicates.put_aside(self.store, self.shard, repeats, self.order.max_tries)
            print(f"{duplicates.NAME}: {len(repeats)} images repeat an earlier one and go aside", file=sys.stderr)
            sheet.forget({repeat.id for repeat in repeats})
            again = state(self.store, self.plan, Shard())
            interrupt = self._draw(settings, again, next_run(self.store), sheet)
            interrupt.end("the duplicates of the set are being drawn anew")
        return False

    def settings(self) -> Settings:
        """Everything that decides what a set holds, and a hash of it."""
        order = self.order
        settings = settings_of(self.pipeline, order.steps, order.guidance)
        settings |= {"format": order.format, "batch_size": str(order.batch_size), "max_tries": str(order.max_tries)}
        if said := str(self.pipeline.execution):
            settings["execution"] = said  # kernels round differently
        gates = [f"{gate.name} {gate.settings}".rstrip() for gate in self.gates]
        settings["gates"] = "; ".join([*gates, duplicates.SETTINGS] if self._weeds else gates)
        digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()
        return settings | {"config_hash": digest[:12]}

    def _draw(self, settings: Settings, now: State, run: int, sheet: LiveSheet) -> Interrupt:
        order, shard, store = self.order, self.shard, self.store
        ledger = Parts(store, shard, run)
        figures = Figures(store, f"metrics{self._ending}.jsonl", now.total, now.done, order.wandb)
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
