"""Training input from shards: the same samples as from files, divided among ranks and workers, resumed exactly."""

import io
import itertools
import tarfile

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from gen.data.building import build_index
from gen.data.dataset import CXRDataset, make_loader
from gen.data.images import prepare
from gen.data.index import read_index
from gen.data.quarantine import Quarantine
from gen.errors import UserError

COUNT, BATCH = 26, 3


def picture(number: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(number).integers(0, 256, (18, 15), dtype=np.uint8)).save(file, "PNG")
    return file.getvalue()


def as_files(folder):
    for number in range(COUNT):
        (folder / f"{number:03d}.png").write_bytes(picture(number))
    return "folder", [folder]


def as_tars(folder):
    for shard in range(3):
        with tarfile.open(folder / f"{shard}.tar", "w") as tar:
            for number in range(shard, COUNT, 3):
                member = tarfile.TarInfo(f"{number:03d}.png")
                member.size = len(picture(number))
                tar.addfile(member, io.BytesIO(picture(number)))
    return "webdataset", [folder]


def as_parquet(folder):
    for shard in range(2):
        images = [{"bytes": picture(n), "path": f"{n:03d}.png"} for n in range(shard, COUNT, 2)]
        pq.write_table(pa.table({"image": images}), folder / f"{shard}.parquet", row_group_size=5, data_page_size=700)
    return "huggingface", [folder]


def as_urls(folder):
    source, _ = as_tars(folder)
    memory = fsspec.filesystem("memory")
    memory.store.clear()
    for path in folder.glob("*.tar"):
        memory.pipe(f"/shards/{path.name}", path.read_bytes())
    return source, ["memory://shards"]


FORMS = {"files": as_files, "tars": as_tars, "parquet": as_parquet, "urls": as_urls}


@pytest.fixture(params=FORMS)
def dataset(request, tmp_path):
    """The same radiographs in every form, put into the same order."""
    folder = tmp_path / "set"
    folder.mkdir()
    build_index(*FORMS[request.param](folder), tmp_path / "i.parquet")
    rows = read_index(tmp_path / "i.parquet")
    number = [int(image[-7:-4]) for image in rows["image"]]
    rows = rows.iloc[np.argsort(number)].reset_index(drop=True)
    return CXRDataset(rows.assign(source="s", study_id=[f"{n}" for n in range(COUNT)]), 16, seed=4)


def numbers(batch):
    return [int(key.split(":")[1]) for key in batch["key"]]


def take(loader, count):
    return list(itertools.islice(iter(loader), count))


def test_every_form_gives_the_samples_of_the_files(dataset, tmp_path):
    assert len(dataset) == COUNT
    for row in range(0, COUNT, 5):
        (tmp_path / "one.png").write_bytes(picture(row))
        assert torch.equal(dataset.image(row)[0], torch.from_numpy(prepare(tmp_path / "one.png", 16)))


def test_two_ranks_of_two_workers_neither_overlap_nor_lose(dataset):
    batches = -(-2 * COUNT // (2 * BATCH))
    ranks = [take(make_loader(dataset, BATCH, 7, rank, 2, workers=2), batches) for rank in range(2)]
    alone = take(make_loader(dataset, 2 * BATCH, 7), batches)
    # position p of the run is sample p div 2 of rank p mod 2
    together = [
        n for pair in zip(*[[n for b in rank for n in numbers(b)] for rank in ranks], strict=True) for n in pair
    ]
    assert together == [number for batch in alone for number in numbers(batch)]
    for epoch in range(2):
        assert sorted(together[epoch * COUNT : (epoch + 1) * COUNT]) == list(range(COUNT))


@pytest.mark.parametrize("start", [1, 4])
def test_a_resumed_loader_goes_on_with_the_very_next_batch(dataset, start):
    whole = take(make_loader(dataset, BATCH, 7, 1, 2, workers=2), start + 4)
    resumed = take(make_loader(dataset, BATCH, 7, 1, 2, start=start, workers=2), 4)
    for old, new in zip(whole[start:], resumed, strict=True):
        assert old["key"] == new["key"] and old["prompt"] == new["prompt"]
        assert torch.equal(old["image"], new["image"])


def test_a_shard_that_vanishes_is_quarantined_row_by_row(tmp_path):
    (tmp_path / "set").mkdir()
    build_index(*as_tars(tmp_path / "set"), tmp_path / "i.parquet")
    rows = read_index(tmp_path / "i.parquet")
    data = (tmp_path / "set" / "1.tar").read_bytes()
    (tmp_path / "set" / "1.tar").write_bytes(data[: len(data) // 2])  # after the index was made
    dataset = CXRDataset(rows, 16, quarantine=Quarantine(tmp_path / "bad.csv", 0.4, COUNT))
    for row in range(COUNT):
        dataset[row, 0]
    bad = Quarantine(tmp_path / "bad.csv", 0.4, COUNT).names()
    assert 1 < len(bad) < 9
    strict = CXRDataset(rows, 16, quarantine=Quarantine(tmp_path / "strict.csv", 0.1, COUNT))
    with pytest.raises(UserError, match="1.tar.*data.max_bad_share allows 2"):
        for row in range(COUNT):
            strict[row, 0]
