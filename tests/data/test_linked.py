"""Images that go with an image: looked up by address, padded, named apart, the same from files and from a store."""

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from gen.data.dataset import CXRDataset, collate
from gen.data.linked import Directory, Needs, column_key
from gen.data.moments import MomentsStore
from gen.errors import UserError

NEEDS = Needs(columns=("note",), links={"prior": 1, "context": 2})


@pytest.fixture
def rows(tmp_path):
    places = []
    for number in range(4):
        places.append(str(tmp_path / f"{number}.png"))
        Image.fromarray(np.full((16, 16), 60 * number, np.uint8)).save(places[-1])
    table = pd.DataFrame({"image": places, "patient_id": list("aabb"), "study_id": list("pqrs"), "source": "here"})
    table["split"] = "train"
    table["inverted"] = [False, False, True, False]
    table["prior"] = ["", places[0], None, places[2]]
    table["context"] = [f"{places[1]}|{places[2]}|{places[3]}", "", places[0], float("nan")]
    table["note"] = list("wxyz")
    return table


def grey(level, inverted=False):
    return (255 - level if inverted else level) / 127.5 - 1


def test_links_are_padded_and_masked(rows):
    dataset = CXRDataset(rows, 16, needs=NEEDS)
    batch = collate([dataset[row, row] for row in range(4)])
    assert batch["note"] == list("wxyz")
    assert batch["link_prior"].shape == (4, 1, 1, 16, 16) and batch["link_context"].shape == (4, 2, 1, 16, 16)
    assert batch["link_prior_mask"].tolist() == [[False], [True], [False], [True]]
    assert batch["link_context_mask"].tolist() == [[True, True], [False, False], [True, False], [False, False]]
    means = batch["link_context"].mean((2, 3, 4))
    assert means[0].tolist() == pytest.approx([grey(60), grey(120, inverted=True)], abs=1e-5)
    assert batch["link_prior"][3].mean().item() == pytest.approx(grey(120, inverted=True), abs=1e-5)
    assert not batch["link_prior"][0].any()


def test_a_linked_image_may_be_a_row_that_is_not_drawn(rows):
    drawn = CXRDataset(rows.iloc[1:2], 16, needs=NEEDS, among=rows)
    assert drawn[0, 0]["link_prior"].mean().item() == pytest.approx(grey(0), abs=1e-5)
    assert Directory(rows).find(rows.iloc[1], "prior")[0].key == "here:p:0.png"


def test_a_store_gives_links_by_name_and_one_variant_to_all(rows, tmp_path):
    keys = CXRDataset(rows, 16).keys
    store = MomentsStore.create(tmp_path / "store", keys, (3, 2, 1, 1), "mark", [0.0])
    for row in range(4):
        store.write(row, (10 * row + np.arange(3, dtype=np.float16)).reshape(3, 1, 1, 1).repeat(2, 1))
    dataset = CXRDataset(rows, 16, tmp_path / "store", needs=NEEDS)
    for position in range(20):
        sample = dataset[0, position]
        variant = sample["moments"][0].item()
        assert sample["link_context"][:, 0].flatten().tolist() == [10 + variant, 20 + variant]


def test_a_target_in_another_column_has_a_name_of_its_own(rows, tmp_path):
    rows["soft"] = rows["image"].tolist()[::-1]
    needs = Needs(target="soft", links={"image": 1})
    dataset = CXRDataset(rows, 16, needs=needs)
    sample = dataset[1, 0]
    assert sample["key"] == "here:q:1.png#soft" == dataset.keys[1] == column_key(rows.iloc[1], "soft")
    assert sample["image"].mean().item() == pytest.approx(grey(120), abs=1e-5)
    assert sample["link_image"].mean().item() == pytest.approx(grey(60), abs=1e-5)
    store = MomentsStore.create(tmp_path / "store", dataset.keys, (1, 2, 1, 1), "mark", [0.0])
    for row in range(4):
        store.write(row, np.zeros((1, 2, 1, 1), np.float16))
    with pytest.raises(UserError, match=r"have no moments \(first: here:p:0.png\)"):
        CXRDataset(rows, 16, tmp_path / "store", needs=needs)


def test_rows_whose_links_are_unreadable_are_named(rows, tmp_path):
    rows.loc[1, "prior"] = str(tmp_path / "gone.png")
    with pytest.raises(UserError, match="gone.png"):
        CXRDataset(rows, 16, needs=NEEDS)[1, 0]
    assert isinstance(CXRDataset(rows, 16, needs=NEEDS)[3, 0]["link_prior"], torch.Tensor)
