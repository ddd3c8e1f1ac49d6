"""A world of sixteen small radiographs with an index, a codec and recipes, and ways to run the jobs of train/."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from accelerate.state import AcceleratorState
from PIL import Image

from gen.data.images import prepare
from gen.data.index import write_index
from gen.models.codec import LatentCodec

ROOT = Path(__file__).parents[2]
SIDE = 64
TRAIN = {"steps": 20, "batch_size": 4, "learning_rate": 2e-3, "lr_schedule": "cosine", "warmup_steps": 3}
TRAIN |= {"checkpoint_every": 5, "log_every": 1, "ema_decay": 0.9}
CODEC = {"kind": "dc", "latent_channels": 4, "block_out_channels": [8, 8, 16], "layers_per_block": [0, 1, 1]}


@pytest.fixture(autouse=True)
def on_the_cpu(monkeypatch):
    """Numbers are compared to the last bit, so no accelerator and one thread."""
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    AcceleratorState._reset_state(True)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
    AcceleratorState._reset_state(True)


def picture(number: int) -> Image.Image:
    """Two dark lungs on grey, each a little different."""
    rng = np.random.default_rng(number)
    rows, columns = np.mgrid[:SIDE, :SIDE] / SIDE
    chest = np.full((SIDE, SIDE), 150.0)
    for side in (0.3, 0.7):
        x, y = side + rng.normal(0, 0.02), 0.5 + rng.normal(0, 0.03)
        chest -= 90 * np.exp(-((columns - x) ** 2 / 0.012 + (rows - y) ** 2 / 0.06))
    return Image.fromarray((chest + rng.normal(0, 3, chest.shape)).clip(0, 255).astype(np.uint8))


@pytest.fixture(scope="session")
def world(tmp_path_factory) -> Path:
    """Images, `index.csv`, `codec/`, `text.yaml` and `vae.yaml` in one folder."""
    folder = tmp_path_factory.mktemp("world")
    rows = []
    for number in range(16):
        path = folder / f"{number:02}.png"
        picture(number).save(path)
        split = "train" if number < 12 else "val"
        rows.append({"image": str(path), "patient_id": f"p{number}", "study_id": f"s{number}", "split": split})
    table = pd.DataFrame(rows).assign(source="drawn", may_ship=True, sex=["M", "F"] * 8, age=range(20, 84, 4))
    table["view"] = ["PA", "AP", "AP", "PA"] * 4
    table["findings"] = ["No Finding", "Cardiomegaly", "Pleural Effusion", "Pneumonia"] * 4
    write_index(table, folder / "index.csv")
    images = torch.stack([torch.from_numpy(prepare(image, SIDE))[None] for image in table["image"]])
    torch.manual_seed(0)
    codec = LatentCodec(**CODEC, linear_skip=True)
    codec.fit_linear_skip(images)
    codec.fit_whitening(codec.moments(images)[:, :4].detach())
    codec.save_pretrained(folder / "codec")
    data = {"index": str(folder / "index.csv"), "resolution": SIDE}
    text = {
        "run": "given by each test",
        "codec": str(folder / "codec"),
        "data": data,
        "text": {"width": 16, "layers": 1, "heads": 2, "max_tokens": 16},
        "denoiser": {"kind": "unet", "block_out_channels": [32, 32], "layers_per_block": 1},
        "task": {"name": "text", "drop": 0.1},
        "objective": {"prediction": "v_prediction", "schedule": "scaled_linear", "zero_terminal_snr": True},
        "train": TRAIN,
        "validation_prompts": ["PA chest radiograph."],
    }
    text["denoiser"] |= {"attention_levels": [False, True], "head_channels": 16}
    (folder / "text.yaml").write_text(yaml.safe_dump(text))
    vae = {"run": "given by each test", "data": data, "codec": CODEC, "loss": {}, "crop": 32}
    train = {**TRAIN, "steps": 12, "weight_decay": 0.0}
    (folder / "vae.yaml").write_text(yaml.safe_dump({**vae, "train": train}))
    return folder


@pytest.fixture
def run_job(warm):
    """Run `python ...` as a user would, with the library of this checkout; after `before`, by a new interpreter."""

    def run(*arguments: object, **options) -> subprocess.CompletedProcess:
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **options.pop("env", {})}
        before = options.pop("before", [])
        command = [*before, sys.executable if before else warm, *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=600, **options)

    return run
