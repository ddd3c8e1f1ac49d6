"""`make reproduce` from an index to the table of figures, on a few small radiographs."""

import json
import re
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from gen.config import load_config
from gen.data.index import write_index
from gen.engine import retraining
from gen.train import reproduce as script

ROOT = Path(__file__).parents[2]


@pytest.fixture
def index(tmp_path):
    rng = np.random.default_rng(0)
    rows = []
    for number in range(24):
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


SMALL = ["denoiser.block_out_channels=[32, 32, 32]"]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_retrains_everything_and_prints_figures(warm, index, tmp_path, monkeypatch, capfd):
    """With a smaller denoiser, which takes a tenth of the shipped one's time to draw what is measured."""

    def jobs(*arguments):
        few = ["memorisation.images=8"]
        line = [[*job, *SMALL] if job[0].endswith("ldm.py") else job for job in retraining.text_jobs(*arguments)]
        return [[*job, *few] if job[0].endswith("ldm.py") and retraining.FREE not in job else job for job in line]

    monkeypatch.setattr(sys, "executable", warm)
    monkeypatch.setitem(script.MODELS, "text", jobs)
    options = ["--minutes", "0.01", "--index", str(index), "--out", str(tmp_path / "out")]
    monkeypatch.setattr(sys, "argv", ["reproduce.py", *options])
    script.main()
    said = capfd.readouterr().out
    table = said[said.index("figure ") :]
    for figure in ("codec psnr", "codec ssim", "appearance distance", "appearance ratio"):
        assert figure in table
    model = tmp_path / "out" / "model"
    assert not any("_name_or_path" in path.read_text() for path in model.rglob("*.json"))  # this machine's folders
    card = (model / "README.md").read_text()
    assert "; 19 radiographs:" in card and not re.search(r"\{[A-Z_]+\}", card)
    runs = [run["run"] for run in json.loads((model / "figures.json").read_text())["runs"]]
    assert runs == ["vae", "decoder", "words", "guide", "text"] and all(f"| {run} | " in card for run in runs)
    assert (model / "model_index.json").is_file() and (model / "README.md").is_file()
    assert {path.suffix for path in model.rglob("*") if path.is_file()} <= {".json", ".safetensors", ".md", ".txt"}


@pytest.mark.parametrize("name", sorted(script.MODELS))
def test_every_job_takes_its_arguments(name, tmp_path):
    jobs = runpy.run_path(str(ROOT / "docs" / "generate.py"))["jobs"]()
    taught = 0
    for script_of, *arguments in script.MODELS[name](tmp_path / "index.parquet", tmp_path / "out", 60.0):
        if arguments[0].endswith(".yaml"):
            job = load_config(jobs[Path(script_of).relative_to(ROOT).as_posix()], Path(arguments[0]), arguments[1:])
            taught += script_of.endswith("encode.py") or job.train.minutes > 0
        assert script_of == "-m" or Path(script_of).is_file()
    assert taught >= 2


# ---- what was reached beside what is shipped ----------------------------------------------------------------


@pytest.fixture
def shipped(tmp_path, monkeypatch):
    """Write a shipped model's figures, in a folder of weights of our own."""
    monkeypatch.setattr(script, "SHIPPED", tmp_path / "weights" / "text_256")

    def write(folder, runs, **figures):
        (tmp_path / "weights" / folder).mkdir(parents=True)
        named = [{"run": run, "step": 1, "minutes": 1.0, "batch_size": 1, "figures": found} for run, found in runs]
        (tmp_path / "weights" / folder / "figures.json").write_text(json.dumps({**figures, "runs": named}))

    return write


@pytest.fixture
def retrained(tmp_path):
    """Write what runs measured, and return where they are."""

    def write(**runs):
        for run, figures in runs.items():
            (tmp_path / "out" / run / "export").mkdir(parents=True)
            (tmp_path / "out" / run / "export" / "run.json").write_text(json.dumps({"figures": figures, "step": 1}))
        return tmp_path / "out"

    return write


def numbers(text):
    """What a table says: the last two columns by the words before them."""
    rows = (line.rsplit(maxsplit=2) for line in text.splitlines() if re.search(r"\d$|unknown$", line))
    return {row[0]: row[1:] for row in rows}


def test_a_teacher_is_compared_with_the_shipped_teacher_and_its_student_is_told_of(shipped, retrained):
    shipped("view_256", [("view_256", {"val_loss": 0.4}), ("mean_velocity_256", {}), ("view_lcm_256", {})])
    others = {"views_coder": {}, "views_first": {}, "views_fast": {}, "views_clear": {}}
    said = script.figures_of("views", retrained(views={"val_loss": 0.5}, **others))
    assert numbers(said) == {"views val_loss": ["0.5", "0.4"]}
    for run in others:
        assert f"{run}: training measures no figures of it, so there is nothing to compare" in said
    assert "nan" not in said


def test_a_student_with_figures_of_its_own_prints_them(shipped, retrained):
    first = {"views_coder": {}, "views_first": {}}
    out = retrained(**first, views={"val_loss": 0.5}, views_fast={"val_loss": 0.7}, views_clear={})
    shipped("view_256", [("view_256", {"val_loss": 0.4}), ("view_lcm_256", {"val_loss": 0.6})])
    said = script.figures_of("views", out)
    assert numbers(said) == {"views val_loss": ["0.5", "0.4"], "views_fast val_loss": ["0.7", "0.6"]}


def test_each_run_of_a_model_is_compared_with_its_own_kind(shipped, retrained):
    """The last one where there are several; a name may go on behind the recipe's."""
    out = retrained(bone_first={"psnr": 40.0}, bone={"val_loss": 0.8, "other": 1.0})
    runs = [("bone_unet_256_21", {"psnr": 41.0}), ("bone_256_a", {"val_loss": 0.1}), ("bone_256_b", {"val_loss": 0.2})]
    shipped("bone_256", runs)
    said = script.figures_of("bone", out)
    assert numbers(said) == {
        "bone_first psnr": ["40", "41"],
        "bone val_loss": ["0.8", "0.2"],
        "bone other": ["1", "unknown"],
    }


def test_what_has_no_counterpart_stands_alone(shipped, retrained):
    out = retrained(temporal_first={"val_loss": 0.5}, temporal={"val_loss": 0.3})
    shipped("temporal_256", [("temporal_256", {"psnr": 1.0})])
    said = script.figures_of("temporal", out)
    for run in ("temporal_first", "temporal"):
        assert f"{run}: the shipped model has no such figures, so there is nothing to compare" in said
    assert "nan" not in said and "unknown" not in said and "shipped\n" not in said


def test_pictures_are_compared_by_what_was_measured_of_them(shipped, tmp_path):
    shipped("text_256", [("text_256", {"val_loss": 0.4})], codec={"psnr": 35.0})
    (tmp_path / "out" / "model").mkdir(parents=True)
    (tmp_path / "out" / "model" / "figures.json").write_text(json.dumps({"codec": {"psnr": 34.0}, "runs": []}))
    assert numbers(script.figures_of("text", tmp_path / "out")) == {"codec psnr": ["34", "35"]}


@pytest.mark.parametrize("name", sorted(script.TRAINED))
def test_every_run_has_a_counterpart_among_the_shipped_ones(name):
    path = script.SHIPPED.with_name(script.FOLDERS[name]) / "figures.json"
    runs = [run["run"] for run in json.loads(path.read_text())["runs"]]
    for kind in script.TRAINED[name].values():
        assert any(script.same_kind(run, kind) for run in runs), f"no {kind} among {runs}"


def test_judges_are_compared_by_what_publishing_measured(shipped, tmp_path):
    for name in script.JUDGES:
        shipped(name, [], val={"auroc": 0.7, "images": 9}, run={"step": 5})
        (tmp_path / "out" / f"{name}_model").mkdir(parents=True)
        figures = {"val": {"auroc": 0.8}, "run": {"step": 7}, "cases": {"who": "x"}}
        (tmp_path / "out" / f"{name}_model" / "figures.json").write_text(json.dumps(figures))
    said = script.figures_of("judges", tmp_path / "out")
    assert said.count("val auroc") == len(script.JUDGES) and numbers(said) == {"val auroc": ["0.8", "0.7"]}
    assert all((ROOT / "gen" / "weights" / name / "figures.json").is_file() for name in script.JUDGES)
