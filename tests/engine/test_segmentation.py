"""Learning two boxes, and Dice against its definition."""

import math

import numpy as np
import pytest
import torch

from gen.data.segmented import UNKNOWN, SegmentedImages
from gen.engine.loop import Loop
from gen.engine.segmentation import SegmenterLearner, dice, dice_loss, load_phantoms, mean_dice, predicted
from gen.judges.lungs import LungSegmenter
from gen.models.segmenter import ChestSegmenter
from gen.phantom.cohort import Plan, prepare_folder, write_patient, write_tables
from gen.schema import TrainConfig


def boxes(count, seed=0):
    """Dark boxes are lungs, bright ones hearts; every other image does not know its heart."""
    rng = np.random.default_rng(seed)
    images = torch.from_numpy(rng.integers(100, 140, (count, 1, 32, 32), dtype=np.uint8))
    masks = torch.zeros(count, 2, 32, 32, dtype=torch.uint8)
    for number in range(count):
        for structure, (grey, left) in enumerate(((20, 1), (240, 17))):  # side by side: a hidden box has no fair Dice
            row, column = rng.integers(2, 18), rng.integers(left, left + 4)
            masks[number, structure, row : row + 10, column : column + 10] = 1
            images[number, 0][masks[number, structure] == 1] = grey
    masks[::2, 1] = UNKNOWN
    return SegmentedImages(images, masks, [str(number) for number in range(count)])


def test_learns_both_structures(tmp_path):
    train = TrainConfig(
        steps=200, batch_size=8, learning_rate=0.02, lr_schedule="cosine", ema_decay=0.8, checkpoint_every=200
    )
    torch.manual_seed(0)
    learner = SegmenterLearner(ChestSegmenter(widths=(8, 16), resolution=32), boxes(32), boxes(8, seed=1), train, 0.5)
    export = Loop(learner, train, train, tmp_path / "run", cpu=True).train()
    segmenter = LungSegmenter.load(export)
    figures = mean_dice(predicted(segmenter.network, learner.held_out), learner.held_out.masks)
    assert figures["dice lungs"] > 0.8 and figures["dice heart"] > 0.8  # a mask of everything has 0.18
    assert next((tmp_path / "run" / "samples").rglob("masks.png")).is_file()


def test_dice_counts_known_pixels():
    masks = torch.zeros(2, 2, 4, 4, dtype=torch.uint8)
    masks[0, 0, :2] = 1  # 8 pixels
    masks[0, 0, 3] = UNKNOWN
    masks[1, 1] = UNKNOWN
    found = torch.zeros(2, 2, 4, 4)
    found[0, 0, 1:] = 0.9  # 4 right, 4 wrong, 4 where nothing is known
    values = dice(found, masks)
    assert values[0, 0].item() == pytest.approx(2 * 4 / (8 + 8)) and math.isnan(values[1, 1])
    assert "dice heart" not in mean_dice(found[1:], masks[1:])


def test_dice_loss_ignores_the_unknown():
    mask, known = torch.zeros(1, 2, 8, 8), torch.ones(1, 2, 8, 8)
    mask[:, 0, :4] = 1
    known[:, 1] = 0
    sure = 40 * (mask - 0.5)
    sure[:, 1] = 99  # wrong, but nobody knows
    assert dice_loss(sure, mask, known).item() == pytest.approx(0, abs=1e-5)
    assert dice_loss(-sure, mask, known).item() == pytest.approx(1 - 1 / (64 + 1), abs=1e-4)


def test_phantoms_have_a_heart_and_the_upper_part_of_lungs(tmp_path):
    plan = Plan(2, 3, 64, ("PA", "LATERAL"))
    prepare_folder(plan, tmp_path)
    for job in plan.patients():
        write_patient(plan, tmp_path, *job)
    write_tables(plan, tmp_path)
    images = load_phantoms(tmp_path / "index.parquet", 64)
    assert len(images) == 1  # the lateral view is left out
    lungs, heart = images.masks[0]
    assert (lungs == 1).float().mean() > 0.1 and (heart == 1).float().mean() > 0.02 and heart.max() == 1
    unknown = (lungs == UNKNOWN).any(1).nonzero()[:, 0]
    known = (lungs == 1).any(1).nonzero()[:, 0]
    assert unknown.max() > known.max() and known.min() < unknown.min()
