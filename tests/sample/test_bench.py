"""The scale bench goes through the machinery as it is today, on a small set; the other counts operations right."""

import runpy
from pathlib import Path

import pytest
import torch

TESTS = Path(__file__).parents[1]
BENCH = runpy.run_path(str(TESTS / "bench_sets.py"))


def test_every_phase_of_the_scale_bench_runs(tmp_path):
    size = 1_000
    for phase in BENCH["PHASES"]:
        BENCH[f"phase_{phase}"](tmp_path, size)


def test_operations_and_kinds_of_work(monkeypatch):
    monkeypatch.syspath_prepend(str(TESTS))
    bench = runpy.run_path(str(TESTS / "bench_arithmetic.py"))
    a, image = torch.randn(64, 64), torch.randn(1, 4, 32, 32)
    convolution = torch.nn.Conv2d(4, 8, 3, padding=1)
    assert bench["counted"](lambda: a @ a) == 2 * 64**3
    assert bench["counted"](lambda: convolution(image)) == 2 * 32 * 32 * 8 * 4 * 9
    found = bench["kinds"](lambda: [convolution(image) for _ in range(50)])
    assert max(found, key=found.get) == "convolutions" and 0 < sum(found.values()) <= 1
    assert next(bench["memory"]())[1] == pytest.approx(0.033, rel=0.5)  # GB to draw one image with the shipped model
