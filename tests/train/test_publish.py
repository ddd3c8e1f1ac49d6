"""A model that shares its codec and text encoder with another, and keeps of its denoiser what differs."""

import copy
import json
import shutil

import pytest
import torch

from gen.data.index import read_index, write_index
from gen.errors import UserError
from gen.objectives.flow import ConsistencyConfig, build_sampler
from gen.pipeline import CXRPipeline
from gen.train import publish
from gen.train.publish import slim


@pytest.fixture
def folders(tiny_pipeline, tmp_path):
    """A base, and a model tuned from it by a change of rank 2, in full and slim."""
    copy.deepcopy(tiny_pipeline).to(torch.float16).save_pretrained(tmp_path / "base")
    tuned = CXRPipeline.from_pretrained(tmp_path / "base")
    tune(tuned, 0)
    for name in ("full", "slim"):
        copy.deepcopy(tuned).to(torch.float16).save_pretrained(tmp_path / name)
    return tmp_path


def tune(pipeline, seed):
    """Change all large weights by a matrix of rank 2."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in pipeline.unet.parameters():
            matrix = weight.flatten(1) if weight.ndim > 1 else None
            if matrix is not None and min(matrix.shape) > 16:
                left = torch.randn(len(matrix), 2, generator=generator)
                matrix += 0.05 * left @ torch.randn(2, matrix.shape[1], generator=generator)


def drawn(folder):
    pipeline = CXRPipeline.from_pretrained(folder)
    return pipeline(["PA chest radiograph."], steps=2, output_type="np", progress=False).images


def size(folder):
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def test_a_slim_model_draws_what_the_whole_one_draws(folders):
    assert slim(folders / "slim", folders / "base", rank=4) < 1e-4
    assert not any((folders / "slim" / name).exists() for name in ("vae", "text_encoder", "tokenizer"))
    assert size(folders / "slim") < 0.5 * size(folders / "full")
    base, full, slimmed = (drawn(folders / name) for name in ("base", "full", "slim"))
    assert abs(full - base).max() > 0.01 and abs(full - slimmed).max() < 0.05 * abs(full - base).max()
    hashes = {CXRPipeline.from_pretrained(folders / name).model_hash for name in ("base", "full", "slim")}
    assert len(hashes) == 3


def test_a_slim_model_of_a_slim_model(folders):
    """What neither holds comes from the first; the denoiser's changes add up; a circle is refused."""
    slim(folders / "slim", folders / "base", rank=4)
    tuned = CXRPipeline.from_pretrained(folders / "slim")
    tune(tuned, 1)
    tuned.to(torch.float16).save_pretrained(folders / "third")
    whole = drawn(folders / "third")
    assert slim(folders / "third", folders / "slim", rank=4) < 1e-4
    assert not any((folders / "third" / name).exists() for name in ("vae", "text_encoder", "tokenizer"))
    change = abs(whole - drawn(folders / "slim")).max()
    assert change > 0.01 and abs(whole - drawn(folders / "third")).max() < 0.05 * change
    shutil.rmtree(folders / "third" / "unet")  # with the denoiser of the second as it is
    assert abs(drawn(folders / "third") - drawn(folders / "slim")).max() == 0
    index = folders / "base" / "model_index.json"
    index.write_text(json.dumps(json.loads(index.read_text()) | {"base": "slim"}))
    with pytest.raises(UserError, match="builds upon this model"):
        CXRPipeline.from_pretrained(folders / "third")


def test_a_denoiser_of_its_own_is_kept_as_it_is(folders):
    assert slim(folders / "slim", folders / "base", rank=1) == 0.0  # half of the change would be lost
    assert (folders / "slim" / "unet" / "diffusion_pytorch_model.safetensors").is_file()
    assert abs(drawn(folders / "slim") - drawn(folders / "full")).max() == 0


def test_saved_again_it_is_whole(folders):
    slim(folders / "slim", folders / "base", rank=4)
    CXRPipeline.from_pretrained(folders / "slim").save_pretrained(folders / "again")
    assert abs(drawn(folders / "again") - drawn(folders / "slim")).max() < 1e-6


@pytest.mark.parametrize(
    ("base", "said"),
    [("gone", "builds upon the model gone, which is not beside it"), ("../base", "is no folder beside it")],
)
def test_a_base_that_is_not_there_is_named(folders, base, said):
    slim(folders / "slim", folders / "base", rank=4)
    index = folders / "slim" / "model_index.json"
    index.write_text(json.dumps(json.loads(index.read_text()) | {"base": base}))
    with pytest.raises(UserError, match=said):
        CXRPipeline.from_pretrained(folders / "slim")


def test_a_difference_of_another_base_is_refused(folders):
    slim(folders / "slim", folders / "base", rank=4)
    other = folders / "slim" / "unet" / "config.json"
    settings = json.loads(other.read_text())
    other.write_text(json.dumps(settings | {"block_out_channels": [2 * n for n in settings["block_out_channels"]]}))
    with pytest.raises(UserError, match="slim"):
        CXRPipeline.from_pretrained(folders / "slim")


def test_a_student_keeps_its_sampler_and_figures_are_of_what_is_written(folders, world, tmp_path, monkeypatch):
    student = CXRPipeline.from_pretrained(folders / "full")
    shape = {"solver": "ddim", "guidance_channels": 8, "target_decay": 0.5, "guide_scale": 0.0}
    settings = ConsistencyConfig(grid=4, segments=4, guidance=(1.0, 2.0), **shape)
    student.register_modules(scheduler=build_sampler(settings, student.scheduler))
    student.save_pretrained(folders / "student")
    table = read_index(world / "index.csv").assign(may_ship=True)
    write_index(table.assign(split=table["split"].replace("val", "test")), tmp_path / "index.csv")
    options = (
        "--index",
        tmp_path / "index.csv",
        "--base",
        folders / "base",
        "--rank",
        4,
        "--name",
        "student",
        "--steps",
        4,
    )
    command = ["publish.py", folders / "student", folders / "out", *options, "--segments", 2]
    monkeypatch.setattr("sys.argv", [str(word) for word in command])
    publish.main()
    made = CXRPipeline.from_pretrained(folders / "out")
    assert made.scheduler.config.segments == 2 and made.config.name == "student"
    assert not (folders / "out" / "vae").exists()
    figures = json.loads((folders / "out" / "figures.json").read_text())
    expected, images = publish.measure(made, tmp_path / "index.csv")
    assert (
        figures["appearance"] == pytest.approx(expected["appearance"])
        and f"{images}" in (folders / "out" / "README.md").read_text()
    )


def test_segments_of_a_sampler_without_are_refused(folders):
    with pytest.raises(UserError, match="--segments: .* has none"):
        publish.resampled(CXRPipeline.from_pretrained(folders / "full"), None, 2)
