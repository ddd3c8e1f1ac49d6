"""train/vae.py and train/encode.py from end to end at 64 pixels."""

import json
import socket
from pathlib import Path

import numpy as np
import pytest
import torch

from gen.data.dataset import CXRDataset, make_dataset
from gen.data.index import read_index, write_index
from gen.data.moments import MomentsStore
from gen.errors import exit_on_user_error
from gen.models.loading import load_codec
from gen.objectives.reconstruction import psnr
from gen.schema import DataConfig
from gen.train import encode, vae

ROOT = Path(__file__).parents[2]


def run_vae(world, run, *arguments):
    with exit_on_user_error():
        vae.main([str(world / "vae.yaml"), f"run={run}", *arguments])
    return load_codec(run / "export").eval()


def run_encode(world, codec, out, *arguments):
    recipe = out.with_suffix(".yaml")
    recipe.write_text(
        f"codec: {codec}\nout: {out}\nvariants: 2\nbatch_size: 1\n"
        f"data: {{index: {world / 'index.csv'}, resolution: 64}}\n"
    )
    with exit_on_user_error():
        encode.main([str(recipe), *map(str, arguments)])
    return MomentsStore(out)


@pytest.fixture
def images(world):
    dataset = CXRDataset(read_index(world / "index.csv"), 64)
    return torch.stack([dataset.image(row) for row in range(len(dataset))])


@torch.no_grad()
@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("dc", ["codec.linear_skip=true", "codec.whitening_power=0.5"]),
        ("kl", ["codec.layers_per_block=[1,1,1]", "loss.adversarial=0.1"]),
        ("vq", ["codec.layers_per_block=[1,1,1]", "codec.num_vq_embeddings=16"]),
    ],
)
def test_every_codec_trains_and_exports(world, tmp_path, images, kind, options):
    codec = run_vae(world, tmp_path / "run", f"codec.kind={kind}", *options)
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    losses = [line for line in lines if "loss" in line]
    assert len(losses) == 12
    assert sum(line["l1"] for line in losses[-4:]) < sum(line["l1"] for line in losses[:4])
    expected = {"dc": "kl", "kl": "discriminator", "vq": "codebook"}[kind]
    assert all(expected in line for line in losses)
    figures = lines[-1]["validation"]
    held_out = images[12:]
    output = codec.reconstruct(held_out).clamp(-1, 1)
    assert figures["psnr"] == pytest.approx(psnr(output, held_out).mean().item(), abs=0.01)
    assert (tmp_path / "run" / "samples" / "step-0000012" / "pairs.png").is_file()
    z = codec.sample(codec.moments(images[:12]))
    assert abs(z.mean()) < 0.01 and z.square().mean().item() == pytest.approx(1, abs=0.02)


@torch.no_grad()
def test_a_decoder_that_goes_on_alone_leaves_the_moments(world, tmp_path, images):
    first = run_vae(world, tmp_path / "first", "train.steps=4")
    start = f"initialise_from={tmp_path / 'first' / 'export'}"
    second = run_vae(world, tmp_path / "second", start, "decoder_only=true", "train.steps=4")
    assert torch.equal(first.moments(images), second.moments(images))
    assert torch.equal(first.sample(first.moments(images)), second.sample(second.moments(images)))
    z = first.sample(first.moments(images))
    assert (first.decode(z) - second.decode(z)).abs().max() > 1e-3


@torch.no_grad()
def test_moments_are_those_of_the_codec(world, tmp_path, images):
    store = run_encode(world, world / "codec", tmp_path / "store")
    codec = load_codec(world / "codec").eval()
    dataset = CXRDataset(read_index(world / "index.csv"), 64)
    moments = codec.moments(images).numpy()
    for row, key in enumerate(dataset.keys):
        np.testing.assert_allclose(store[key, 0], moments[row], rtol=1e-3, atol=1e-4)
        assert np.abs(store[key, 1] - store[key, 0]).max() > 1e-2  # augmented
    assert store.pending() == [] and store.variants == 2


@torch.no_grad()
def test_pairs_are_augmented_alike(world, tmp_path, capsys):
    table = read_index(world / "index.csv")
    write_index(table.assign(soft=table["image"]), tmp_path / "index.csv")
    arguments = [world, world / "codec", tmp_path / "store", f"data.index={tmp_path / 'index.csv'}"]
    store = run_encode(*arguments, "columns=[image,soft]")
    keys = CXRDataset(table, 64).keys
    assert store.pending() == [] and len(store.done) == 2 * len(keys)
    assert all(np.array_equal(store[key, variant], store[f"{key}#soft", variant]) for key in keys for variant in (0, 1))
    with pytest.raises(SystemExit) as end:
        run_encode(*arguments[:2], tmp_path / "bone", arguments[3], "columns=[bone]")
    assert end.value.code == 2 and "not every row has an image in column 'bone'" in capsys.readouterr().err


def test_encoding_goes_on_where_it_was_killed_and_keeps_what_is_there(world, tmp_path):
    whole = run_encode(world, world / "codec", tmp_path / "whole")
    store = run_encode(world, world / "codec", tmp_path / "store")
    part = MomentsStore(tmp_path / "store", "r+")
    part.moments[3] = 0
    part.done[3] = 0
    part.moments[5] = 7  # done: stays as it is
    part.moments.flush()
    store = run_encode(world, world / "codec", tmp_path / "store")
    assert np.array_equal(store.moments[3], whole.moments[3])
    assert (store.moments[5] == 7).all()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_two_processes_share_the_work_and_lose_nothing(world, tmp_path, run_job):
    alone = run_encode(world, world / "codec", tmp_path / "alone")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    launch = ["-m", "accelerate.commands.launch", "--config_file", ROOT / "configs" / "accelerate" / "cpu2.yaml"]
    launch += ["--main_process_port", port, ROOT / "train" / "encode.py", tmp_path / "alone.yaml"]
    result = run_job(*launch, f"out={tmp_path / 'both'}")
    assert result.returncode == 0 and "16 of 16 images" in result.stdout, result.stderr[-2000:]
    np.testing.assert_allclose(MomentsStore(tmp_path / "both").moments, alone.moments, rtol=1e-2, atol=1e-3)


def test_another_codec_is_refused(world, tmp_path, capsys):
    run_encode(world, world / "codec", tmp_path / "store")
    codec = load_codec(world / "codec")
    codec.latent_shift += 1
    codec.save_pretrained(tmp_path / "other")
    with pytest.raises(SystemExit) as end:
        run_encode(world, tmp_path / "other", tmp_path / "store")
    assert end.value.code == 2
    assert "store: holds moments of another codec or index" in capsys.readouterr().err


def test_unreadable_images_are_named_and_the_others_encoded(world, tmp_path, capsys):
    table = read_index(world / "index.csv")
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no image")
    table.loc[2, "image"] = str(broken)
    write_index(table, tmp_path / "index.csv")
    arguments = [world, world / "codec", tmp_path / "store", f"data.index={tmp_path / 'index.csv'}"]
    with pytest.raises(SystemExit) as end:
        run_encode(*arguments)
    said = capsys.readouterr().err
    assert end.value.code == 2 and "broken.png: cannot read this image" in said and "1 of 16 images unreadable" in said
    store = run_encode(*arguments, "data.max_bad_share=0.1")
    assert "1 images could not be read; " in capsys.readouterr().out and store.pending() == [2]
    config = DataConfig(index=tmp_path / "index.csv", moments=tmp_path / "store", resolution=64, max_bad_share=0.1)
    assert len(make_dataset(config, "train", 0, tmp_path / "run")) == 11
