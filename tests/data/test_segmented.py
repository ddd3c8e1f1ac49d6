"""Masks of several collections on the model's square."""

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from gen.data.annotations import write_masks
from gen.data.index import read_index, write_index
from gen.data.segmented import UNKNOWN, load_segmented
from gen.errors import UserError


@pytest.fixture
def index(tmp_path):
    """A wide image with a whole mask, one with two lungs, one whose mask covers the central square, one without."""
    masks = []
    for name in ("whole", "halves", "square", "none"):
        Image.fromarray(np.full((20, 40), 90, np.uint8)).save(tmp_path / f"{name}.png")

    def mask(image, structure, columns):
        drawn = np.zeros((20, 40), np.uint8)
        drawn[:, columns] = 255
        Image.fromarray(drawn).save(tmp_path / f"{image}_{structure[:10]}.png")
        place = str(tmp_path / f"{image}_{structure[:10]}.png")
        masks.append(
            {"image": str(tmp_path / f"{image}.png"), "structure": structure, "mask": place, "channel": 0, "rle": ""}
        )

    mask("whole", "lungs (incl. retrocardiac)", slice(0, 20))
    mask("whole", "Heart", slice(10, 16))
    mask("halves", "left_lung", slice(24, 40))
    mask("halves", "right_lung", slice(0, 16))
    mask("square", "lungs (incl. retrocardiac; central square only)", slice(10, 20))
    mask("none", "left_lung", slice(24, 40))  # half a pair of lungs is no mask of the lungs
    names = ["whole", "halves", "square", "none"]
    rows = pd.DataFrame(
        {"image": [str(tmp_path / f"{name}.png") for name in names], "patient_id": names, "split": "train"}
    )
    write_index(rows, tmp_path / "index.parquet")
    write_masks(pd.DataFrame(masks), tmp_path / "index.parquet")
    return tmp_path / "index.parquet"


def test_parts_make_a_structure_and_what_is_not_drawn_is_unknown(index):
    images = load_segmented(index, read_index(index), 40)
    assert len(images) == 3 and images.images.shape == (3, 1, 40, 40)
    whole, halves, square = (part[:, 20] for part in images.masks)  # the middle row of each
    assert whole[0].tolist() == [1] * 20 + [0] * 20 and whole[1].tolist() == [0] * 10 + [1] * 6 + [0] * 24
    assert halves[0].tolist() == [1] * 16 + [0] * 8 + [1] * 16 and (halves[1] == UNKNOWN).all()
    assert square[0].tolist() == [UNKNOWN] * 10 + [1] * 10 + [0] * 10 + [UNKNOWN] * 10
    assert (images.masks[2, 0, 0] == 0).all()  # the padding above the film is no lung, known


def test_batches(index):
    images = load_segmented(index, read_index(index), 40)
    batch = (images + images.repeated(2)).batch([2, 8])
    assert batch["key"][0] == batch["key"][1] and torch.equal(batch["mask"][0], batch["mask"][1])
    assert batch["known"][0, 0, 20].tolist() == [0] * 10 + [1] * 20 + [0] * 10
    assert set(batch["mask"].unique().tolist()) == {0, 1} and batch["mask"][0, 0, 20].sum() == 10


def test_rows_without_masks_are_named(index):
    rows = read_index(index)
    with pytest.raises(UserError, match="none of 1 rows has a mask"):
        load_segmented(index, rows[rows["patient_id"] == "none"], 32)
