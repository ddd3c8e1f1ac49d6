"""accelerate launch tests/train/leaving_nothing.py ldm.py ...: a job as its script in train/ runs it, leaving nothing.

Fails where a thread of gloo's outlives the run: a rank that ended while one was running has aborted once. With
STOP_AT=N in the environment the first rank is asked to stop (SIGTERM) in the step after the Nth.
"""

import contextlib
import gc
import os
import runpy
import signal
import sys
from pathlib import Path

from gen.engine.loop import Loop

ROOT = Path(__file__).parents[2]


def threads() -> list[str]:
    """Names of this process's threads, as Linux has them."""
    return [path.read_text().strip() for path in Path("/proc/self/task").glob("*/comm")]


def asked_to_stop(step, last: int):
    """`Loop.step` that sends its own process a signal first."""

    def signalled(self, batches):
        if self.progress["step"] == last and self.main:
            os.kill(os.getpid(), signal.SIGTERM)
        return step(self, batches)

    return signalled


if __name__ == "__main__":
    script, sys.argv = sys.argv[1], sys.argv[1:]
    if "STOP_AT" in os.environ:
        Loop.step = asked_to_stop(Loop.step, int(os.environ["STOP_AT"]))
    with contextlib.suppress(SystemExit) if "STOP_AT" in os.environ else contextlib.nullcontext():
        runpy.run_path(str(ROOT / "train" / script), run_name="__main__")
    gc.collect()
    left = [name for name in threads() if "gloo" in name]
    sys.exit(f"left running: {left}" if left else 0)
