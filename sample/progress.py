"""What a long run shows while it goes: a bar, figures in metrics.jsonl, a contact sheet that is drawn anew."""

from __future__ import annotations

import json
import time
from collections import Counter, deque
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from .row import ACCEPTED, REJECTED
from .store import Store

if TYPE_CHECKING:
    from .loop import Drawn

SHOWN = 12  # images on the contact sheet
LINES_EVERY, SHEET_EVERY = 10.0, 60.0  # seconds


class Bar:
    """A progress bar with rate and remaining time; none where nothing is to be done."""

    def __init__(self, total: int, done: int) -> None:
        from tqdm import tqdm

        self._bar = tqdm(total=total, initial=done, unit="image", disable=done >= total)

    def __enter__(self) -> Bar:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def tell(self, drawn: Sequence[Drawn], notes: Sequence[str]) -> None:
        """Count the images that are done."""
        self._bar.update(_final(drawn))


class Figures:
    """Lines of a metrics file, seldom enough for a long run: how many, how fast, how long still, what was rejected."""

    def __init__(self, store: Store, name: str, total: int, done: int, wandb_project: str | None = None) -> None:
        self.store, self.name, self.total, self.done, self.first = store, name, total, done, done
        self.rejected: Counter[str] = Counter()
        self.began = self.written = time.monotonic()  # a clock on the wall may jump
        self._tracker = None if wandb_project is None else _tracker(wandb_project, name)

    def tell(self, drawn: Sequence[Drawn], notes: Sequence[str]) -> None:
        """Count; write a line where the last one is some seconds old, or something happened."""
        self.done += _final(drawn)
        for one in drawn:
            self.rejected.update(name for name, verdict in one.verdicts.items() if not verdict.passed)
        if notes or self.done == self.total or time.monotonic() - self.written > LINES_EVERY:
            self.write(notes)

    def write(self, notes: Sequence[str] = ()) -> None:
        """Write a line now."""
        self.written = time.monotonic()
        rate = (self.done - self.first) / max(1e-9, self.written - self.began)
        line: dict[str, object] = {
            "seconds": round(self.written - self.began, 1),
            "done": self.done,
            "total": self.total,
            "images_per_second": round(rate, 4),
            "seconds_left": round((self.total - self.done) / rate, 1) if rate else None,
            "rejected": dict(self.rejected),
        }
        self.store.append(self.name, json.dumps(line | ({"notes": list(notes)} if notes else {})) + "\n")
        if self._tracker is not None:
            self._tracker.log({key: value for key, value in line.items() if value is not None})

    def close(self) -> None:
        """Finish the run of the tracker."""
        if self._tracker is not None:
            self._tracker.finish()


class LiveSheet:
    """The last images that passed, on a contact sheet that is renewed once a minute."""

    def __init__(self, store: Store, name: str) -> None:
        self.store, self.name = store, name
        self.last: deque[Drawn] = deque(maxlen=SHOWN)
        self.drawn = float("-inf")

    def tell(self, drawn: Sequence[Drawn], notes: Sequence[str]) -> None:
        """Remember what passed, and draw the sheet when it is due."""
        self.last.extend(one for one in drawn if one.status == ACCEPTED)
        if self.last and time.monotonic() - self.drawn > SHEET_EVERY:
            self.draw()

    def forget(self, ids: Collection[str]) -> None:
        """Drop images that do not belong to the set any more."""
        self.last = deque((one for one in self.last if one.item.id not in ids), SHOWN)

    def draw(self) -> None:
        """Draw the sheet now, if there is an image."""
        import io

        from PIL import Image

        from .contact import Group, contact_sheet

        if not self.last:
            return
        self.drawn = time.monotonic()
        groups = [
            Group(one.picture.record.prompt, f"{one.item.id}, seed {one.picture.record.seed}", [Image.fromarray(grey)])
            for one, grey in ((one, one.picture.grey) for one in self.last)
        ]
        file = io.BytesIO()
        title = "Synthetic chest radiographs: no patients, not for diagnosis"
        contact_sheet(groups, title, "the last ones that passed", columns=4).save(file, format="PNG")
        self.store.write(self.name, file.getvalue())


def _final(drawn: Sequence[Drawn]) -> int:
    return sum(one.status != REJECTED for one in drawn)


def _tracker(project: str, name: str):
    """A wandb run, by its own environment variables online or offline; the key never passes through here."""
    import wandb

    return wandb.init(project=project, name=name, settings=wandb.Settings(silent=True))
