"""Ending a long run at a good moment."""

from __future__ import annotations

import signal
import sys
import threading
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupt:
    """Remembers a Ctrl-C or a SIGTERM inside its `with`, so that the batch at hand is finished; a second one kills."""

    def __init__(self) -> None:
        self.signal = 0

    def __enter__(self) -> Interrupt:
        main = threading.current_thread() is threading.main_thread()  # no other thread may ask for signals
        self._before = {number: signal.signal(number, self._remember) for number in SIGNALS if main}
        return self

    def __exit__(self, *_: object) -> None:
        for number, action in self._before.items():
            signal.signal(number, action)

    def end(self, done: str) -> None:
        """End the process with the shell's code for the signal, if one has come."""
        if self.signal:
            print(f"interrupted: {done}; the same command goes on from here", file=sys.stderr, flush=True)
            raise SystemExit(128 + self.signal)

    def _remember(self, number: int, _: FrameType | None) -> None:
        self.signal = number
        signal.signal(number, signal.SIG_DFL)
