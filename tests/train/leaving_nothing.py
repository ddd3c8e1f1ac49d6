"""accelerate launch tests/train/leaving_nothing.py ldm.py ...: a job as its script in train/ runs it, leaving nothing.

Fails where a thread of gloo's outlives the run: a rank that ended while one was running has aborted once.
"""

import gc
import runpy
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def threads() -> list[str]:
    """Names of this process's threads, as Linux has them."""
    return [path.read_text().strip() for path in Path("/proc/self/task").glob("*/comm")]


if __name__ == "__main__":
    script, sys.argv = sys.argv[1], sys.argv[1:]
    runpy.run_path(str(ROOT / "train" / script), run_name="__main__")
    gc.collect()
    left = [name for name in threads() if "gloo" in name]
    sys.exit(f"left running: {left}" if left else 0)
