"""The baseline of bone suppression: it learns a bone that always lies in one place, and starts by doing nothing."""

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from gen.engine.bones import BoneRegressionLearner, Pairs
from gen.errors import UserError
from gen.models.bone import BoneFilters, BoneRegressor
from gen.schema import DataConfig, TrainConfig

TRAIN = TrainConfig(steps=1, batch_size=4, learning_rate=1e-3, lr_schedule="constant")


@pytest.fixture
def config(tmp_path):
    rows = []
    for number in range(6):
        soft = 0.3 + 0.3 * np.random.default_rng(number).random((32, 32))
        image = soft.copy()
        image[12:16] += 0.2
        for name, picture in (("x", image), ("s", soft)):
            Image.fromarray(np.round(picture * 255).astype(np.uint8)).save(tmp_path / f"{name}{number}.png")
        split = "val" if number > 3 else "train"
        rows.append({"image": f"x{number}.png", "soft": f"s{number}.png", "patient_id": str(number), "split": split})
    pd.DataFrame(rows).to_csv(tmp_path / "index.csv", index=False)
    return DataConfig(index=tmp_path / "index.csv", resolution=32)


@pytest.mark.parametrize(
    ("build", "crop", "steps"),
    [(lambda: BoneRegressor(widths=(16, 16), resolution=32), None, 40), (lambda: BoneFilters((16, 16), 32), 24, 80)],
    ids=["unet", "filters"],
)
def test_it_learns(build, crop, steps, config, tmp_path):
    torch.manual_seed(0)
    learner = BoneRegressionLearner(build(), Pairs(config, "train"), Pairs(config, "val"), TRAIN, crop)
    before = learner.validate(learner.trained.eval(), tmp_path)
    assert before["psnr"] == pytest.approx(before["identity_psnr"])
    optimizer = torch.optim.AdamW(learner.trained.train().parameters(), lr=1e-2)
    batches = learner.batches(0, 1, 0)
    for _ in range(steps):
        optimizer.zero_grad()
        sum(learner(next(batches)).values()).backward()
        optimizer.step()
    assert learner.validate(learner.trained.eval(), tmp_path)["psnr"] > before["psnr"] + 6


def test_pairs_in_memory(config):
    batch = Pairs(config, "train").batch([0, 2])
    assert batch["image"].shape == batch["soft"].shape == (2, 1, 32, 32)
    bone = (batch["image"] - batch["soft"])[:, 0]
    assert bone[:, 12:16].mean() == pytest.approx(0.4, abs=0.01) and bone[:, :12].abs().max() == 0
    with pytest.raises(UserError, match="split 'test'"):
        Pairs(config, "test")
