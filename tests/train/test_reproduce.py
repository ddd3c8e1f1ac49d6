"""`make reproduce` from an index to the table of figures, on a few small radiographs."""

import json
import re
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from gen.data.index import write_index

ROOT = Path(__file__).parents[2]


@pytest.fixture
def index(tmp_path):
    rng = np.random.default_rng(0)
    rows = []
    for number in range(20):
        path = tmp_path / f"{number}.png"
        Image.fromarray(rng.integers(0, 255, (64, 64), dtype=np.uint8)).save(path)
        split = "test" if number < 3 else "val" if number < 5 else "train"
        rows.append({"image": str(path), "patient_id": f"p{number}", "study_id": f"s{number}", "split": split})
    table = pd.DataFrame(rows).assign(view="PA", sex="F", age=50.0, findings="No Finding", may_ship=True, source="made")
    write_index(table, tmp_path / "index.parquet")
    return tmp_path / "index.parquet"


@pytest.fixture
def reproduce(warm):
    """Run the script; the jobs that it starts are warm too."""

    def run(*arguments):
        command = [warm, ROOT / "train" / "reproduce.py", *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, cwd=ROOT)

    return run


def test_without_an_index_it_says_how_to_make_one(reproduce, tmp_path):
    result = reproduce("--minutes", 1, "--index", tmp_path / "none.parquet")
    assert result.returncode == 2
    assert result.stderr.startswith("error: ") and "cxr-index build" in result.stderr


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_retrains_everything_and_prints_figures(reproduce, index, tmp_path):
    result = reproduce("--minutes", 0.01, "--index", index, "--out", tmp_path / "out")
    assert result.returncode == 0, result.stderr[-2000:]
    table = result.stdout[result.stdout.index("figure ") :]
    for figure in ("codec psnr", "codec ssim", "appearance distance", "appearance ratio"):
        assert figure in table
    model = tmp_path / "out" / "model"
    assert not any("_name_or_path" in path.read_text() for path in model.rglob("*.json"))  # this machine's folders
    card = (model / "README.md").read_text()
    assert "; 15 radiographs:" in card and not re.search(r"\{[A-Z_]+\}", card)
    runs = [run["run"] for run in json.loads((model / "figures.json").read_text())["runs"]]
    assert runs == ["vae", "decoder", "words", "guide", "text"] and all(f"| {run} | " in card for run in runs)
    assert (model / "model_index.json").is_file() and (model / "README.md").is_file()
    assert {path.suffix for path in model.rglob("*") if path.is_file()} <= {".json", ".safetensors", ".md", ".txt"}
