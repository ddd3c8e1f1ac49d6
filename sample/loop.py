"""The one sampling loop: items in, pictures through the gates into a writer, rows into a ledger."""

from __future__ import annotations

import json
import sys
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol

import numpy as np

from gen import seeds

from .interrupt import Interrupt
from .models import Painter
from .request import Item
from .row import ACCEPTED, GIVEN_UP, REJECTED, Row
from .writers import Picture, Writer

if TYPE_CHECKING:
    from .gates import Gate, Verdict


class Ledger(Protocol):
    """Remembers what is done."""

    def add(self, rows: Sequence[Row]) -> None: ...


class Watcher(Protocol):
    """Is told after every batch."""

    def tell(self, drawn: Sequence[Drawn], notes: Sequence[str]) -> None: ...


@dataclass(frozen=True)
class Drawn:
    """One drawing of one item, and what the gates said of it."""

    item: Item
    tried: int  # 0 at first
    picture: Picture
    status: str
    verdicts: dict[str, Verdict]

    def row(self, settings: dict[str, str], batch: int) -> Row:
        """The manifest's row, but for the file."""
        record, item = self.picture.record, self.item
        names = ("model", "model_hash", "config_hash", "format")
        return {
            "id": item.id,
            "try": self.tried,
            "status": self.status,
            "prompt": record.prompt,
            "view": item.view or record.view,
            "sex": item.sex or record.sex,
            "age": record.age if item.age is None else item.age,
            "findings": record.findings if item.findings is None else item.findings,
            "source": item.source,
            "seed": record.seed,
            "verdicts": json.dumps({name: _said(verdict) for name, verdict in self.verdicts.items()}),
            "batch": batch,
            "time": datetime.now(UTC).isoformat(timespec="seconds"),
            **{name: settings.get(name, "") for name in names},
        }


def _said(verdict: Verdict) -> dict[str, object]:
    return {"passed": bool(verdict.passed), "score": float(verdict.score), "reason": verdict.reason}


@dataclass
class Loop:
    """A painter, the gates its pictures have to pass, and where they go."""

    painter: Painter
    settings: dict[str, str]
    writer: Writer
    rejects: Writer
    ledger: Ledger
    gates: Sequence[Gate] = ()
    max_tries: int = 1
    watchers: Sequence[Watcher] = ()
    _again: deque[tuple[Item, int]] = field(default_factory=deque)

    def run(self, items: Iterable[tuple[Item, int]]) -> Interrupt:
        """Draw items from their given try on until each is accepted or given up, or a signal comes."""
        with Interrupt() as interrupt:
            for batch in self._batches(iter(items)):
                drawn = self._judged(batch)
                self._keep(drawn)
                self._tell(drawn)
                if interrupt.signal:
                    break
            self.ledger.add(self.writer.flush())
        return interrupt

    def _batches(self, items: Iterator[tuple[Item, int]]) -> Iterator[list[tuple[Item, int]]]:
        """What was rejected first, then what is new; a batch has the painter's size of the moment."""
        while True:
            batch = [self._again.popleft() for _ in range(min(len(self._again), self.painter.size))]
            batch += [pair for _, pair in zip(range(self.painter.size - len(batch)), items, strict=False)]
            if not batch:
                return
            yield batch

    def _judged(self, batch: Sequence[tuple[Item, int]]) -> list[Drawn]:
        items = [item for item, _ in batch]
        numbers = [derived(item.seed, tried) for item, tried in batch]
        pictures = self.painter.paint([item.prompt for item in items], numbers, [item.given for item in items])
        greys = np.stack([picture.grey for picture in pictures])
        said = {gate.name: gate.check(greys, items) for gate in self.gates}
        drawn = []
        for number, ((item, tried), picture) in enumerate(zip(batch, pictures, strict=True)):
            verdicts = {name: verdicts[number] for name, verdicts in said.items()}
            passed = all(verdict.passed for verdict in verdicts.values())
            status = ACCEPTED if passed else REJECTED if tried + 1 < self.max_tries else GIVEN_UP
            drawn.append(Drawn(item, tried, picture, status, verdicts))
        return drawn

    def _keep(self, drawn: Sequence[Drawn]) -> None:
        rows: list[Row] = []
        for one in drawn:
            writer = self.writer if one.status == ACCEPTED else self.rejects
            rows += writer.add(one.row(self.settings, self.painter.size), one.picture)
            if one.status == REJECTED:
                self._again.append((one.item, one.tried + 1))
        self.ledger.add(rows)

    def _tell(self, drawn: Sequence[Drawn]) -> None:
        notes, self.painter.notes = self.painter.notes, []
        for note in notes:
            print(note, file=sys.stderr, flush=True)
        for watcher in self.watchers:
            watcher.tell(drawn, notes)


def derived(seed: int, tried: int) -> int:
    """The seed of a drawing: the plan's own, then one derived from it for every further try."""
    return seeds.mix(seed, "try", tried) if tried else seed
