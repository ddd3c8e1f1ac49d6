"""The recipes of the big reference systems take a training step, at tiny size, with the very keys that they set."""

import re
from pathlib import Path

import pandas as pd
import pytest
import torch

from gen.config import load_config
from gen.data.dataset import make_loader
from gen.data.index import read_index, write_index
from gen.pipeline import CXRPipeline
from gen.schema import CodecJob, LatentJob, TransformerConfig
from gen.train.ldm import LatentLearner
from gen.train.vae import CodecLearner

REFERENCE = Path(__file__).parents[2] / "configs" / "reference"
SMALL = ["data.workers=0", "train.batch_size=2", "train.mixed_precision=no"]
LATENT = [*SMALL, "data.moments=null"]
WORDS = ["text.model=null", "text.width=16", "text.layers=1", "text.heads=2", "text.max_tokens=24"]
SHALLOW = ["denoiser.layers_per_block=1", "text.width=32"]
CODECS = [p.stem for p in sorted(REFERENCE.glob("*.yaml")) if re.match(r"# accelerate .*train/vae\.py", p.read_text())]
JOBS = {
    path.stem: load_config(LatentJob, path)
    for path in sorted(REFERENCE.glob("*.yaml"))
    if re.match(r"# accelerate .*train/ldm\.py", path.read_text())
}
BONES = [name for name, job in JOBS.items() if job.task.name == "bone"]
EVENTS = [name for name, job in JOBS.items() if job.task.name == "temporal"]
FINE_TUNED = [name for name, job in JOBS.items() if job.initialise_from is not None and name != "chexgen_512"]
WORDS_ALONE = [name for name, job in JOBS.items() if job.task.name == "text" and job.initialise_from is None]
PIXELS = [name for name, job in JOBS.items() if str(job.codec) == "pixels"]


def where(world, run, resolution=64):
    return [f"data.index={world / 'index.csv'}", f"run={run}", f"data.resolution={resolution}"]


def one_step(learner):
    """Gradients of the first batch."""
    train = learner.job.train
    torch.manual_seed(0)
    losses = learner(next(iter(make_loader(learner.dataset, train.batch_size, train.seed))))
    loss = sum(losses.values())
    loss.backward()
    assert loss.isfinite()
    wanted = {name for name, value in learner.trained.named_parameters() if value.requires_grad}
    reached = {name for name, value in learner.trained.named_parameters() if value.grad is not None}
    assert wanted == reached
    return wanted


def narrow(widths, width):
    return f"{[width] * len(widths)}".replace(" ", "")


def small_latent(name, world, run, resolution=64, changes=()):
    """A recipe with its codec, widths and text encoder made small; everything else as the file says."""
    path = REFERENCE / f"{name}.yaml"
    job = load_config(LatentJob, path)
    denoiser, codec = job.denoiser, job.codec if name in PIXELS else world / "codec"
    if isinstance(denoiser, TransformerConfig):
        sizes = ["denoiser.layers=2", "denoiser.heads=2", "denoiser.head_channels=16"]
    else:
        sizes = [f"denoiser.block_out_channels={narrow(denoiser.block_out_channels, 32)}", "denoiser.head_channels=16"]
    small = [*where(world, run, resolution), f"codec={codec}", *LATENT, *WORDS, *sizes, *changes]
    return load_config(LatentJob, path, small)


@pytest.mark.parametrize("name", CODECS)
def test_codecs(name, world, tmp_path):
    path = REFERENCE / f"{name}.yaml"
    shape = load_config(CodecJob, path).codec.block_out_channels
    small = [f"codec.block_out_channels={narrow(shape, 16)}", "crop=32", "loss.perceptual=0"]  # LPIPS needs its weights
    job = load_config(CodecJob, path, [*where(world, tmp_path / "run"), *SMALL, *small])
    learner = CodecLearner(job)
    one_step(learner)
    assert learner.trained["codec"].downsample_factor == 2 ** (len(shape) - 1)


@pytest.mark.parametrize("name", FINE_TUNED)
def test_fine_tuning_of_stable_diffusion_trains_the_words_too(name, world, stable_diffusion, tmp_path):
    folder = stable_diffusion[1]
    changes = [*where(world, tmp_path / "run", 16), *LATENT, f"codec={folder / 'vae'}", f"initialise_from={folder}"]
    learner = LatentLearner(load_config(LatentJob, REFERENCE / f"{name}.yaml", changes))
    assert not learner.trained["task"].text.mask_padding  # as Stable Diffusion was trained
    assert {name.split(".")[0] for name in one_step(learner)} == {"task", "denoiser"}
    assert not any(parameter.requires_grad for parameter in learner.codec.parameters())


@pytest.mark.parametrize("name", WORDS_ALONE)
def test_latent_models(name, world, tmp_path):
    job = small_latent(name, world, tmp_path / "run")
    trained = one_step(LatentLearner(job))
    assert any(name.startswith("task") for name in trained) is job.text.trainable


@pytest.mark.parametrize("name", PIXELS)
def test_pixel_models_draw_without_a_codec(name, world, tmp_path):
    learner = LatentLearner(small_latent(name, world, tmp_path / "run", 32))
    assert learner.codec.latent_shape(32) == (1, 32, 32) == (learner.trained["denoiser"].latent_channels, 32, 32)
    learner.export(learner.trained, tmp_path / "export")
    pipeline = CXRPipeline.from_pretrained(tmp_path / "export")
    assert pipeline("PA chest radiograph.", steps=1, progress=False).images[0].size == (32, 32)


@pytest.mark.parametrize("name", BONES)
def test_bone_suppression(name, world, tmp_path):
    table = read_index(world / "index.csv")
    write_index(table.assign(soft=table["image"]), tmp_path / "index.csv")
    job = small_latent(name, world, tmp_path / "run", changes=[f"data.index={tmp_path / 'index.csv'}", *SHALLOW])
    assert {part.split(".")[0] for part in one_step(LatentLearner(job))} == {"task", "denoiser"}


@pytest.mark.parametrize("name", EVENTS)
def test_follow_ups(name, world, tmp_path):
    table = read_index(world / "index.csv")
    pairs = table.assign(patient_id=[f"p{row // 2}" for row in range(len(table))], offset_days=[0.0, 1.0] * 8)
    write_index(pairs, tmp_path / "index.csv")
    rows = [
        {"patient_id": f"p{row}", "hour": 12.0, "code": "furosemide", "value": 40.0, "unit": "mg"} for row in range(8)
    ]
    pd.DataFrame(rows).to_parquet(tmp_path / "events.parquet")
    encoder = ["task.width=16", "task.layers=1", "task.heads=2", "task.registers=2"]
    job = small_latent(name, world, tmp_path / "run", changes=[f"data.index={tmp_path / 'index.csv'}", *encoder])
    one_step(LatentLearner(job))


def test_the_second_stage_of_chexgen_goes_on_with_the_first_at_twice_the_side(world, tmp_path):
    first = LatentLearner(small_latent("chexgen_256", world, tmp_path / "first", 32))
    torch.nn.init.normal_(first.trained["denoiser"].backbone.proj_out.weight, std=0.1)
    first.export(first.trained, tmp_path / "export")
    job = small_latent("chexgen_512", world, tmp_path / "second", 64)
    second = LatentLearner(job.model_copy(update={"initialise_from": tmp_path / "export"}))
    one_step(second)
    old, new = (learner.trained["denoiser"].state_dict() for learner in (first, second))
    assert all(torch.equal(old[name], new[name]) for name in old if "pos_embed" not in name)
