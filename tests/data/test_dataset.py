"""Samples and the order in which they come."""

import itertools

import pandas as pd
import pytest
import torch

from gen.data.dataset import CXRDataset, StepBatches, collate, load_rows, make_dataset, make_loader
from gen.data.images import prepare
from gen.data.index import write_index
from gen.data.moments import MomentsStore, image_keys
from gen.errors import UserError
from gen.schema import DataConfig


@pytest.fixture
def rows(table):
    return table.assign(split="train", source="here", findings="Cardiomegaly")


def take(batches, count):
    return list(itertools.islice(iter(batches), count))


@pytest.mark.parametrize("world", [1, 2, 3])
@pytest.mark.parametrize(("length", "batch_size"), [(24, 4), (7, 3), (5, 8)])
def test_every_epoch_has_every_row_once_over_all_ranks(world, length, batch_size):
    epochs, count = 4, -(-4 * length // (batch_size * world)) + 1
    streams = [take(StepBatches(length, batch_size, 1, rank, world), count) for rank in range(world)]
    pairs = [pair for stream in streams for batch in stream for pair in batch]
    positions = [position for _, position in pairs]
    assert sorted(positions) == list(range(len(positions)))  # no overlap, no gap
    row_of = {position: row for row, position in pairs}
    orders = [[row_of[epoch * length + i] for i in range(length)] for epoch in range(epochs)]
    assert all(sorted(order) == list(range(length)) for order in orders)
    assert len({tuple(order) for order in orders}) == epochs


def test_the_order_follows_the_seed():
    first, same, other = (take(StepBatches(50, 5, seed), 10) for seed in (1, 1, 2))
    assert first == same != other


@pytest.mark.parametrize("start", [1, 5, 1000])
def test_a_later_start_skips_batches(start):
    whole = take(StepBatches(11, 4, 3, 1, 2), start + 6)
    assert take(StepBatches(11, 4, 3, 1, 2, start=start), 6) == whole[start:]


def test_the_whole_order_does_not_depend_on_the_number_of_ranks():
    alone = [pair for batch in take(StepBatches(13, 6, 0), 4) for pair in batch]
    together = [take(StepBatches(13, 3, 0, rank, 2), 4) for rank in range(2)]
    pairs = [pair for stream in together for batch in stream for pair in batch]
    assert sorted(pairs, key=lambda pair: pair[1]) == alone


def test_samples_have_pixels_prompt_and_attributes(rows):
    dataset = CXRDataset(rows, 16)
    sample = dataset[0, 5]
    assert len(dataset) == 4
    assert sample["image"].shape == (1, 16, 16) and sample["image"].dtype == torch.float32
    assert torch.equal(sample["image"][0], torch.from_numpy(prepare(rows["image"][0], 16)))
    assert sample["key"] == "here:s0:0.png" and (sample["view"], sample["sex"], sample["age"]) == ("PA", "M", 64.0)
    assert isinstance(sample["prompt"], str) and sample["prompt"]


def test_inverted_files_are_turned_back(rows):
    plain, inverted = CXRDataset(rows, 12), CXRDataset(rows.assign(inverted=True), 12)
    inside = slice(1, 11)  # padding stays black
    torch.testing.assert_close(inverted.image(0)[..., inside], -plain.image(0)[..., inside], atol=1e-5, rtol=0)


def test_prompts_depend_on_position_and_seed_alone(rows):
    dataset = CXRDataset(rows, 16, seed=1)
    prompts = [dataset[0, position]["prompt"] for position in range(30)]
    assert prompts == [dataset[0, position]["prompt"] for position in range(30)]
    assert len(set(prompts)) > 5
    assert prompts != [CXRDataset(rows, 16, seed=2)[0, position]["prompt"] for position in range(30)]


def test_workers_change_nothing(rows):
    dataset = CXRDataset(rows, 16)
    here, there = (take(make_loader(dataset, 3, 7, start=2, workers=workers), 5) for workers in (0, 2))
    for a, b in zip(here, there, strict=True):
        assert a["prompt"] == b["prompt"] and a["key"] == b["key"]
        assert torch.equal(a["image"], b["image"])


def test_collate_stacks_tensors_and_lists_the_rest():
    batch = collate(
        [{"image": torch.zeros(1, 2), "key": "a", "age": 3.0}, {"image": torch.ones(1, 2), "key": "b", "age": 4.0}]
    )
    assert torch.equal(batch["image"], torch.tensor([[[0.0, 0.0]], [[1.0, 1.0]]]))
    assert batch["key"] == ["a", "b"] and batch["age"] == [3.0, 4.0]


def test_cached_moments_take_the_place_of_pixels(rows, tmp_path):
    store = MomentsStore.create(tmp_path / "store", image_keys(rows), (3, 8, 2, 2), "mark", [0.0])
    for row in range(4):
        store.write(
            row, torch.full((3, 8, 2, 2), float(row)).numpy() + torch.arange(3)[:, None, None, None].numpy() / 4
        )
    dataset = CXRDataset(rows, 16, tmp_path / "store")
    samples = [dataset[2, position] for position in range(40)]
    assert "image" not in samples[0] and samples[0]["moments"].shape == (8, 2, 2)
    assert samples[0]["moments"].dtype == torch.float16
    values = {sample["moments"].unique().item() for sample in samples}
    assert values == {2.0, 2.25, 2.5}  # every variant of the row, no other row
    assert torch.equal(dataset[2, 7]["moments"], samples[7]["moments"])


def test_images_without_moments_are_named(rows, tmp_path):
    store = MomentsStore.create(tmp_path / "store", image_keys(rows), (1, 8, 2, 2), "mark", [0.0])
    store.write(0, torch.zeros(1, 8, 2, 2).numpy())
    with pytest.raises(UserError, match=r"3 of 4 images have no moments \(first: here:s1:1.png\); run train/encode.py"):
        CXRDataset(rows, 16, tmp_path / "store")


def test_rows_of_a_split_and_of_a_licence(table, tmp_path):
    index = tmp_path / "index.csv"
    write_index(table, index)
    config = DataConfig(index=index, resolution=16)
    assert load_rows(config, "train")["study_id"].tolist() == ["s0", "s1"]
    shippable = config.model_copy(update={"may_ship_only": True})
    assert load_rows(shippable, "train")["study_id"].tolist() == ["s0"]
    assert make_dataset(shippable, "val", 0).keys == [":s2:2.png"]
    write_index(table.assign(split="train"), index)
    with pytest.raises(UserError, match="no rows in split 'val'"):
        load_rows(config, "val")
    write_index(table.drop(columns="may_ship"), index)
    with pytest.raises(UserError, match="data.may_ship_only needs the column may_ship"):
        load_rows(shippable, "train")


def test_unreadable_images_are_named(rows):
    with open(rows["image"][1], "wb") as file:
        file.write(b"no image")
    dataset = CXRDataset(pd.DataFrame(rows), 16)
    with pytest.raises(UserError, match="1.png: cannot read this image"):
        dataset[1, 0]
