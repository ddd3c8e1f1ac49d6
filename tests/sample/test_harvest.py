"""A set becomes an index, and a model trains on it."""

import json

import pandas as pd
import pytest

from gen.data.index import check_index, read_index
from gen.train.ldm import main

RECIPE = {
    **{"data.resolution": 32, "train.steps": 2, "train.batch_size": 2, "train.checkpoint_every": 2},
    **{"denoiser.block_out_channels": "[32,32]", "denoiser.head_channels": 16, "text.width": 32, "text.max_tokens": 32},
    "validation_prompts": "[]",
}


@pytest.fixture
def drawn(draw_plan, make_plan, tmp_path):
    """A set of twelve images whose conditions came from four patients, and its folder."""
    plan = pd.read_parquet(make_plan(12))
    plan["source"] = [f"each Cardiomegaly from 00000000000{number % 4}" for number in range(12)]
    plan.loc[11, "source"] = "target 1, free words"
    plan.to_parquet(tmp_path / "plan.parquet")
    assert draw_plan(tmp_path / "plan.parquet", tmp_path / "set")[0] == 0
    return tmp_path / "set"


def test_a_model_trains_on_what_was_accepted(cxr_sample, drawn, tiny_pipeline_dir, tmp_path, monkeypatch):
    index = tmp_path / "elsewhere" / "synthetic.parquet"
    code, said, _ = cxr_sample("index", drawn, "--out", index, "--validation", 0.4, "--seed", 1)
    assert code == 0 and "12 synthetic radiographs" in said
    table = read_index(index)
    assert check_index(table) == [] and len(table) == 12  # every file is there, no patient is in two splits
    assert table["patient_id"].nunique() == 5 and set(table["split"]) == {"train", "val"}
    assert table["synthetic"].all() and not table["may_ship"].any() and set(table["view"]) == {"PA"}
    assert list(table["report"].astype(bool)).count(True) == 1
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    overrides = [f"{name}={value}" for name, value in RECIPE.items()]
    overrides += [f"data.index={index}", f"codec={tiny_pipeline_dir / 'vae'}", f"run={tmp_path / 'run'}"]
    monkeypatch.setattr("sys.argv", ["ldm.py", "configs/tiny_text.yaml", *overrides])
    main(["configs/tiny_text.yaml", *overrides])
    lines = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "loss" in line] == [1, 2]
    assert (tmp_path / "run/export/model_index.json").is_file()


def test_packed_and_empty_sets_are_refused(cxr_sample, draw_plan, make_plan, tmp_path):
    draw_plan(make_plan(2), tmp_path / "set", "--format", "webdataset")
    code, _, err = cxr_sample("index", tmp_path / "set", "--out", tmp_path / "index.parquet")
    assert code == 2 and "images are in webdataset files" in err and not (tmp_path / "index.parquet").exists()
    code, _, err = cxr_sample("index", tmp_path / "nothing", "--out", tmp_path / "index.parquet")
    assert code == 2 and "no accepted image" in err
