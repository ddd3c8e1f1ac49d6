"""A polite end for runs that are asked to stop."""

from __future__ import annotations

import signal
from types import FrameType


class Preemption:
    """Turns SIGTERM and SIGINT into a flag, so that a run stops between steps with its state saved."""

    def __init__(self) -> None:
        self.requested = False
        self._before = {number: signal.signal(number, self._note) for number in (signal.SIGTERM, signal.SIGINT)}

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.requested = True

    def restore(self) -> None:
        """Give the signals back to whoever had them."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
