"""The scale bench goes through the machinery as it is today: its phases on a small set."""

import runpy
from pathlib import Path

BENCH = runpy.run_path(str(Path(__file__).parents[1] / "bench_sets.py"))


def test_every_phase_of_the_scale_bench_runs(tmp_path):
    size = 1_000
    for phase in BENCH["PHASES"]:
        BENCH[f"phase_{phase}"](tmp_path, size)
