"""The command in this process: quick, and with its exit code and its two streams."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import pytest

from gen.sample.cli import main


@pytest.fixture
def one_thread(monkeypatch):
    """Here and in the processes that a test starts: images have the same bits where processes have as many threads."""
    import torch

    before = torch.get_num_threads()
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def cxr_sample(monkeypatch, capsys) -> Callable[..., tuple[int, str, str]]:
    """Run `cxr-sample ...`: exit code, standard output, standard error."""

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["cxr-sample", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            main()
        out, err = capsys.readouterr()
        return int(end.value.code or 0), out, err

    return run


@pytest.fixture
def draw(cxr_sample, tiny_pipeline_dir) -> Callable[..., tuple[int, str, str]]:
    """`cxr-sample image` with the tiny model at two steps."""

    def run(*arguments: object) -> tuple[int, str, str]:
        return cxr_sample("image", "--model", tiny_pipeline_dir, "--steps", 2, "--device", "cpu", *arguments)

    return run


@pytest.fixture
def manifest() -> Callable[[Path], list[dict[str, str]]]:
    """Rows of a folder's manifest."""

    def read(folder: Path) -> list[dict[str, str]]:
        with (folder / "manifest.csv").open(newline="") as file:
            return list(csv.DictReader(file))

    return read


@pytest.fixture
def make_plan(tmp_path) -> Callable[..., Path]:
    """Write a plan of `count` rows whose prompts differ."""

    def make(count: int, name: str = "plan.parquet", first: int = 0) -> Path:
        import pandas as pd

        numbers = range(first, first + count)
        ages = [float(20 + number % 60) for number in numbers]
        table = pd.DataFrame({"id": [f"{number:04d}" for number in numbers], "seed": [7 * n for n in numbers]})
        table["prompt"] = [f"PA chest radiograph of a {age:.0f}-year-old man with cardiomegaly." for age in ages]
        table = table.assign(view="PA", sex="M", age=ages, findings="Cardiomegaly", source="target 1")
        table.to_parquet(tmp_path / name)
        return tmp_path / name

    return make


@pytest.fixture
def draw_plan(cxr_sample, tiny_pipeline_dir) -> Callable[..., tuple[int, str, str]]:
    """`cxr-sample run` with the tiny model at two steps, three images a batch."""

    def run(plan: Path, out: object, *arguments: object) -> tuple[int, str, str]:
        options = ("--model", tiny_pipeline_dir, "--steps", 2, "--device", "cpu", "--batch-size", 3)
        return cxr_sample("run", plan, "--out", out, *options, *arguments)

    return run


@pytest.fixture
def images() -> Callable[[Path], dict[str, bytes]]:
    """Bytes of a set's image files by name."""

    def read(out: Path) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in sorted((out / "images").rglob("*.*"))}

    return read
