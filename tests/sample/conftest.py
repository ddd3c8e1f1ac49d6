"""The command in this process: quick, and with its exit code and its two streams."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import pytest

from gen.sample.cli import main


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
