"""The shipped bone recipe, made small: what a plain network misses is trained, exported, loaded and drawn from."""

from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from gen.calls.bone import diffusion_bones
from gen.config import load_config
from gen.data.dataset import make_loader
from gen.data.index import read_index, write_index
from gen.models.bone import BoneRegressor
from gen.pipeline import CXRPipeline
from gen.schema import LatentJob
from gen.train.ldm import LatentLearner
from gen.train.publish import history

RECIPE = Path(__file__).parents[2] / "configs" / "bone_256.yaml"
SMALL = ["denoiser.block_out_channels=[32,32]", "denoiser.attention_levels=[false,true]", "denoiser.head_channels=16"]


@pytest.fixture
def job(world, tmp_path):
    table = read_index(world / "index.csv")
    write_index(table.assign(soft=table["image"]), tmp_path / "index.csv")
    torch.manual_seed(0)
    first = BoneRegressor(widths=(8, 8), resolution=64).eval()
    torch.nn.init.normal_(first.out.weight, std=0.02)
    first.save_pretrained(tmp_path / "first")
    places = [f"data.index={tmp_path / 'index.csv'}", f"run={tmp_path / 'run'}", f"task.first={tmp_path / 'first'}"]
    return load_config(LatentJob, RECIPE, [*places, "data.resolution=64", "train.batch_size=2", *SMALL])


def test_what_the_first_network_misses_is_trained(job, tmp_path):
    learner = LatentLearner(job)
    batch = next(iter(make_loader(learner.dataset, 2, 0)))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        sum(learner(batch).values()).backward()
    moved = {name for name, weight in learner.trained.named_parameters() if weight.grad is not None}
    assert "task.conditioner.token" in moved and any(name.startswith("denoiser") for name in moved)
    assert not any("regressor" in name for name in moved)

    learner.export(learner.trained.eval(), tmp_path / "export")
    pipeline = CXRPipeline.from_pretrained(tmp_path / "export")
    pixels = torch.rand(1, 1, 64, 64) * 2 - 1
    first = BoneRegressor.from_pretrained(tmp_path / "first").eval()
    with torch.no_grad():  # an untrained denoiser draws nothing: the first answer stands
        expected = first.bone(pixels)[:, 0] / 2
    torch.testing.assert_close(diffusion_bones(pipeline, 1).layers(pixels), expected, atol=1e-5, rtol=0)
    larger = diffusion_bones(pipeline, 1).suppress(np.random.default_rng(0).random((150, 140)), True, looks=4)
    assert larger.soft.shape == (150, 140)


def test_a_first_answer_needs_pixels(job):
    with pytest.raises(ValidationError, match="needs a codec that folds them"):
        LatentJob(**{**job.model_dump(), "codec": "gen/weights/text_256/vae"})


def test_the_first_network_is_part_of_the_history(tmp_path):
    for name, config in (("first", "run: runs/first"), ("own", f"run: runs/own\ntask: {{first: {tmp_path}/first}}")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.yaml").write_text(f"{config}\ntrain: {{batch_size: 8}}\n")
        (tmp_path / name / "run.json").write_text('{"step": 5, "seconds": 60, "figures": {}}')
    assert [run["run"] for run in history(tmp_path / "own")] == ["first", "own"]
