"""The judges' jobs from end to end at 64 pixels: trained, published, loaded as their users load them."""

import json
import sys

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from PIL import Image

from gen.data.annotations import write_masks
from gen.data.index import read_index, write_index
from gen.errors import exit_on_user_error
from gen.judges.alignment import ImageText
from gen.judges.lungs import LungSegmenter
from gen.judges.reader import Reader
from gen.train import classifier, contrastive, publish_judge, segmenter

TRAIN = {"steps": 4, "batch_size": 4, "learning_rate": 1e-3, "lr_schedule": "cosine", "checkpoint_every": 4}


@pytest.fixture(scope="module")
def index(world, tmp_path_factory):
    """The world with a test split, rows that must not be shared, and masks of two dark lungs."""
    folder = tmp_path_factory.mktemp("judged")
    rows = read_index(world / "index.csv")
    rows["study_id"] = [f"s{number}" for number in range(len(rows))]
    rows.loc[14:, "split"] = "test"
    rows.loc[15, "may_ship"] = False
    write_index(rows, folder / "index.parquet")
    masks = []
    for number, path in enumerate(rows["image"]):
        dark = np.asarray(Image.open(path).convert("L")) < 110
        file = folder / f"mask_{number}.png"
        Image.fromarray(dark.astype(np.uint8) * 255).save(file)
        masks.append({"image": path, "structure": "lungs", "mask": str(file), "channel": 0, "rle": ""})
    write_masks(pd.DataFrame(masks), folder / "index.parquet")
    return folder / "index.parquet"


def trained(job, name, folder, index, **parts):
    values = {"run": str(folder / name), "data": {"index": str(index), "resolution": 64, "may_ship_only": True}}
    recipe = folder / f"{name}.yaml"
    recipe.write_text(yaml.safe_dump({**values, "train": TRAIN, **parts}))
    with exit_on_user_error():
        job.main([str(recipe)])
    return folder / name / "export"


def published(export, out, index, monkeypatch, *options):
    monkeypatch.setattr(sys, "argv", ["publish_judge.py", str(export), str(out), f"--index={index}", *options])
    with exit_on_user_error():
        publish_judge.main()
    return json.loads((out / "figures.json").read_text()), (out / "README.md").read_text()


@pytest.fixture(scope="module")
def reader_run(index, tmp_path_factory):
    network = {"widths": [8, 16], "blocks": [1, 1], "features": 16, "resolution": 32}
    parts = {
        "network": network,
        "loss": {"findings": 1, "view": 1, "sex": 1, "age": 1, "balance": 0.5},
        "least_positives": 2,
    }
    return trained(classifier, "reader", tmp_path_factory.mktemp("runs"), index, **parts)


def test_a_reader_is_trained_and_published(reader_run, index, tmp_path, monkeypatch, capsys):
    figures, card = published(reader_run, tmp_path / "reader", index, monkeypatch)
    reader = Reader.load(tmp_path / "reader")
    assert reader.labels == ("No Finding", "Cardiomegaly", "Pleural Effusion", "Pneumonia")
    assert figures["val"]["images"] == 2 and figures["test"]["images"] == 1 and figures["external"]["images"] == 1
    assert figures["run"]["step"] == 4 and "auroc" in figures["val"]
    assert "{" not in card.replace("{RESOLUTION}", "{") and "| Cardiomegaly |" in card + capsys.readouterr().out
    assert str(index.parent) not in card + (tmp_path / "reader" / "config.json").read_text()
    assert not (tmp_path / "reader" / "config.yaml").exists()


def test_a_reader_of_views_alone(index, tmp_path, tmp_path_factory, monkeypatch):
    network = {"widths": [4, 8], "blocks": [1, 1], "features": 8, "resolution": 32}
    parts = {"network": network, "loss": {"findings": 0, "view": 1}, "labels": [], "view_index": str(index)}
    run = trained(classifier, "views", tmp_path_factory.mktemp("runs"), index, **parts)
    phantoms = f"--test-phantoms={index}"
    figures, card = published(run, tmp_path / "views", index, monkeypatch, phantoms, f"--trained-phantoms={index}")
    reader = Reader.load(tmp_path / "views")
    assert reader.labels == () and reader.read(torch.zeros(2, 1, 32, 32)).view.shape == (2, 3)
    assert figures["phantoms"]["images"] == len(read_index(index)) and "external" in figures
    assert all(name.startswith(("view_right", "images")) for name in figures["phantoms"])
    assert card.startswith("---") and "# View reader" in card and "| view right |" in card and "sex right" not in card
    assert "{" not in card


def test_a_segmenter_is_trained_and_published(index, tmp_path, monkeypatch):
    parts = {"network": {"widths": [8, 8], "resolution": 64, "patch": 2}, "real_repeats": 2}
    export = trained(segmenter, "lungs", tmp_path, index, **parts)
    figures, card = published(
        export, tmp_path / "shipped", index, monkeypatch, f"--picture={tmp_path / 'outlines.png'}"
    )
    assert 0 <= figures["val drawn"]["lungs"] <= 1 and figures["external drawn"]["images"] == 1
    assert "12 radiographs and 0 phantoms" in card
    assert LungSegmenter.load(tmp_path / "shipped").structures == ("lungs", "heart")


def test_an_image_text_model_is_trained_on_a_reader_and_published(reader_run, index, tmp_path, monkeypatch):
    shape = {"reader": str(reader_run), "locked": True, "embed": 16, "width": 16, "layers": 1, "heads": 2}
    export = trained(contrastive, "clip", tmp_path, index, clip=shape)
    figures, _ = published(export, tmp_path / "shipped", index, monkeypatch)
    assert figures["val"]["images"] == 2 and 0 <= figures["val"]["own_wins"] <= 1
    judge = ImageText.load(tmp_path / "shipped")
    assert judge.texts(["PA chest radiograph", "cardiomegaly"]).shape == (2, 16)


def test_what_is_no_judge_is_refused(tmp_path, index, monkeypatch, capsys):
    with pytest.raises(SystemExit) as end:
        published(tmp_path, tmp_path / "out", index, monkeypatch)
    assert end.value.code == 2 and "no export of a judge" in capsys.readouterr().err
