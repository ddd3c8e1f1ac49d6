"""The gate that compares a whole set: planted copies, any split, any format, kills in the middle."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from gen import seeds
from gen.pipeline import CXRPipeline
from gen.sample.claims import claim
from gen.sample.duplicates import Sieve
from gen.sample.gating import parse_gating
from gen.sample.job import Order, Worker
from gen.sample.parts import part_names, read_manifest
from gen.sample.plan import read_plan
from gen.sample.rejections import rejections
from gen.sample.split import Shard, parse_shard
from gen.sample.store import Folder, open_store

COUNT = 14
SEEDS = [0, 1, 2, 0, 4, 1, 6, 0, 8, 9, 10, 11, 2, 13]
TRIES = {"0003": 1, "0005": 1, "0007": 2, "0012": 1}  # 7 repeats 0, then in its second drawing that of 3
REASONS = [("0003", 0, "0000"), ("0005", 0, "0001"), ("0007", 0, "0000"), ("0007", 1, "0003"), ("0012", 0, "0002")]


@pytest.fixture
def twins(tmp_path) -> Path:
    """A plan of one prompt in which some seeds are there twice."""
    table = pd.DataFrame({"id": [f"{number:04d}" for number in range(COUNT)], "seed": SEEDS})
    table.assign(prompt="PA chest radiograph with cardiomegaly.").to_parquet(tmp_path / "twins.parquet")
    return tmp_path / "twins.parquet"


@pytest.fixture
def draw_distinct(draw_plan, twins):
    """`cxr-sample run --gates duplicates` with the plan of twins."""
    return lambda out, *more: draw_plan(twins, out, "--gates", "duplicates", "--max-tries", 3, *more)


def drawings(out) -> list[tuple]:
    """What a set says of every drawing, but for when and by whom."""
    rows = read_manifest(open_store(out)).to_pylist()
    return [tuple(row[name] for name in ("id", "try", "status", "seed", "sha256", "verdicts")) for row in rows]


def accepted(out) -> list[tuple]:
    """Those drawings that belong to the set."""
    return [drawing for drawing in drawings(out) if drawing[2] == "accepted"]


def test_a_repeated_picture_is_put_aside_and_drawn_again(cxr_sample, draw_distinct, images, tmp_path):
    code, said, err = draw_distinct(tmp_path / "set")
    assert code == 0 and "the set is complete" in said and "images repeat an earlier one and go aside" in err
    rows = read_manifest(open_store(tmp_path / "set")).to_pandas()
    aside = rows[rows["status"] == "rejected"]
    assert len(aside) == len(REASONS)
    for row, (id_, tried, of) in zip(aside.to_dict("records"), REASONS, strict=True):
        verdict = json.loads(row["verdicts"])["duplicates"]
        assert (row["id"], row["try"], verdict["reason"]) == (id_, tried, f"same picture as {of}")
        assert verdict["score"] == pytest.approx(1, abs=1e-5)
        assert row["file"].startswith("rejects/") and (tmp_path / "set" / row["file"]).is_file()
    kept = rows[rows["status"] == "accepted"].set_index("id")
    assert [f"{id_}.png" for id_ in kept.index] == sorted(images(tmp_path / "set")) and len(kept) == COUNT
    assert all(kept["seed"][id_] == seeds.mix(SEEDS[int(id_)], "try", tried) for id_, tried in TRIES.items())
    code, said, _ = cxr_sample("verify", tmp_path / "set")
    assert code == 0 and "14 planned, 14 drawn, 0 given up, 5 rejected; whole" in said
    assert "0 pairs of one condition are near-duplicates" in said


def test_the_rejection_table_counts_them(draw_distinct, tmp_path):
    _, said, _ = draw_distinct(tmp_path / "set")
    assert ("duplicates", "same picture as ...", 5, 5 / 19) in rejections(open_store(tmp_path / "set"))
    assert "duplicates  same picture as ...  5         26.3%" in " ".join(said.split("\n"))


@pytest.mark.parametrize("kind", ["png", "webdataset", "parquet", "dicom"])
def test_the_set_is_the_same_however_it_is_split(cxr_sample, draw_distinct, tmp_path, kind):
    options = ("--format", kind, "--per-file", 4)
    assert draw_distinct(tmp_path / "one", *options)[0] == 0
    for shard in ("2/2", "1/2"):
        code, said, _ = draw_distinct(tmp_path / "two", *options, "--shard", shard)
        assert code == 0 and ("the set is complete" in said) == (shard == "1/2")
    assert drawings(tmp_path / "one") == drawings(tmp_path / "two")
    for name in ("one", "two"):
        assert cxr_sample("verify", tmp_path / name)[0] == 0
        rows = read_manifest(open_store(tmp_path / name), ["file"]).to_pandas()
        folders = [path for path in (tmp_path / name).iterdir() if path.name in ("images", "data")]
        files = {str(path.relative_to(tmp_path / name)) for folder in folders for path in folder.rglob("*.*")}
        assert files == set(rows["file"][rows["status"] == "accepted"])
    suffix = ".dcm" if kind == "dicom" else ".png"
    assert len(list((tmp_path / "one/rejects").rglob(f"*_try?{suffix}"))) == 5


def test_a_plan_that_grew_gives_the_same_set(draw_plan, draw_distinct, twins, tmp_path):
    table = pd.read_parquet(twins)
    table.iloc[:6].to_parquet(tmp_path / "first.parquet")
    options = ("--gates", "duplicates", "--max-tries", 3)
    assert draw_plan(tmp_path / "first.parquet", tmp_path / "grown", *options)[0] == 0
    assert draw_distinct(tmp_path / "grown")[0] == draw_distinct(tmp_path / "straight")[0] == 0
    assert drawings(tmp_path / "grown") == drawings(tmp_path / "straight")


class Killed(BaseException):
    """The end of a process."""


class Mortal(Folder):
    """A folder whose process dies after so many changes of it."""

    def __init__(self, path: Path, changes: int) -> None:
        super().__init__(path)
        self.changes = changes

    def write(self, name: str, data: bytes) -> None:
        self._live()
        super().write(name, data)

    def delete(self, name: str) -> None:
        self._live()
        super().delete(name)

    def _live(self) -> None:
        if self.changes == 0:
            raise Killed
        self.changes -= 1


@pytest.mark.parametrize("kind", ["png", "webdataset"])
def test_killed_between_any_two_changes(cxr_sample, tiny_pipeline, twins, tmp_path, kind):
    gating = parse_gating("duplicates", None, None)
    order = Order(steps=1, batch_size=4, max_tries=3, gating=gating, format=kind, per_file=5)

    def draw(store, shard="1/1") -> bool:
        return Worker(tiny_pipeline, read_plan(twins), store, order, parse_shard(shard)).draw().complete

    assert draw(Folder(tmp_path / "straight"))
    undecided = Folder(tmp_path / "undecided")
    assert not draw(undecided, "1/2")
    with claim(undecided, Shard(1, 2), lambda alone: None):
        assert not draw(undecided, "2/2")  # every image is drawn, and another worker is there to compare them
    for changes in range(0, 100, 5):
        shutil.copytree(undecided.path, tmp_path / f"{changes}")
        try:
            over = draw(Mortal(tmp_path / f"{changes}", changes))
        except Killed:
            over = False
        assert draw(Folder(tmp_path / f"{changes}"))
        assert drawings(tmp_path / f"{changes}") == drawings(tmp_path / "straight")
        assert cxr_sample("verify", tmp_path / f"{changes}", "--no-similar")[0] == 0
        shutil.rmtree(tmp_path / f"{changes}")
        if over:
            break
    assert over and changes > 15


@pytest.mark.parametrize("kind", ["png", "parquet"])
def test_whatever_part_of_the_manifest_is_lost(cxr_sample, tiny_pipeline, twins, tmp_path, kind):
    gating = parse_gating("duplicates", None, None)
    order = Order(steps=1, batch_size=4, max_tries=3, gating=gating, format=kind, per_file=5)

    def draw(folder) -> bool:
        return Worker(tiny_pipeline, read_plan(twins), Folder(folder), order, Shard()).draw().complete

    assert draw(tmp_path / "whole")
    parts = part_names(Folder(tmp_path / "whole"))
    assert len(parts) > 2
    for number, name in enumerate(parts):
        shutil.copytree(tmp_path / "whole", tmp_path / f"{number}")
        (tmp_path / f"{number}" / name).unlink()
        assert draw(tmp_path / f"{number}")
        assert accepted(tmp_path / f"{number}") == accepted(tmp_path / "whole")
        assert cxr_sample("verify", tmp_path / f"{number}", "--no-similar")[0] == 0


class OnePicture(CXRPipeline):
    """Draws the same picture whatever it is asked for."""

    def __call__(self, prompt, **options):
        drawn = super().__call__(prompt, **options)
        drawn.images[:] = np.random.default_rng(0).random(drawn.images[0].shape)
        return drawn


def test_a_model_of_one_picture_is_given_up(cxr_sample, tiny_pipeline_dir, make_plan, tmp_path):
    order = Order(steps=1, batch_size=4, max_tries=2, gating=parse_gating("duplicates", None, None))
    pipeline, store = OnePicture.from_pretrained(tiny_pipeline_dir), open_store(tmp_path / "set")
    assert Worker(pipeline, read_plan(make_plan(6)), store, order, Shard()).draw().complete
    counts = read_manifest(store).to_pandas()["status"].value_counts().to_dict()
    assert counts == {"rejected": 5, "given up": 5, "accepted": 1}
    code, said, _ = cxr_sample("verify", tmp_path / "set")
    assert code == 0 and "1 drawn, 5 given up, 5 rejected; whole" in said
    assert len(list((tmp_path / "set/images").rglob("*.png"))) == 1


def test_a_set_that_was_not_compared_is_not_whole(cxr_sample, draw_distinct, tmp_path):
    draw_distinct(tmp_path / "set", "--shard", "1/2")
    with claim(open_store(tmp_path / "set"), Shard(1, 2), lambda alone: None):
        said = draw_distinct(tmp_path / "set", "--shard", "2/2")[1]
        assert "the worker that ends last compares all images" in said and "complete" not in said
    code, said, _ = cxr_sample("verify", tmp_path / "set")
    assert code == 1 and "NOT whole: the gate duplicates has not compared these images" in said
    assert "the set is complete" in draw_distinct(tmp_path / "set")[1]
    assert cxr_sample("verify", tmp_path / "set")[0] == 0


def test_where_no_lock_says_who_is_last_a_run_of_the_whole_plan_compares(cxr_sample, draw_distinct, tmp_path):
    pytest.importorskip("fsspec")
    out = f"memory://{tmp_path.name}/set"
    for shard in ("1/2", "2/2"):
        assert "the set is complete" not in draw_distinct(out, "--shard", shard)[1]
    assert "the set is complete" in draw_distinct(out)[1]
    draw_distinct(tmp_path / "set")
    assert drawings(out) == drawings(tmp_path / "set") and cxr_sample("verify", out)[0] == 0


def test_a_damaged_image_is_named(draw_distinct, tmp_path):
    draw_distinct(tmp_path / "set")
    image = next((tmp_path / "set/images").rglob("0008.png"))
    data = image.read_bytes()
    image.write_bytes(data[:40] + bytes(len(data) - 40))
    code, _, err = draw_distinct(tmp_path / "set")
    assert code == 2 and "0008.png: cannot be read" in err and "--recheck" in err
    assert draw_distinct(tmp_path / "set", "--recheck")[0] == 0 and image.read_bytes() == data


@pytest.mark.parametrize("block", [3, 512])
def test_the_sieve_is_the_rule(monkeypatch, block):
    """Against the rule itself: the first drawing that is like none of the images before it."""
    monkeypatch.setattr("gen.sample.duplicates.BLOCK", block)
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, (9, 64, 64), dtype=np.uint8)
    choices = rng.integers(0, len(pictures), (30, 6))  # image, try -> picture
    sieve, tries = Sieve([f"{number:02d}" for number in range(30)]), np.zeros(30, int)
    fresh = {number: pictures[choices[number, 0]] for number in range(30)}
    while True:
        for number, picture in fresh.items():
            sieve.put(number, tries[number], picture)
        found = [int(repeat.id) for repeat in sieve.repeats()]
        if not found:
            break
        tries[found] += 1
        fresh = {number: pictures[choices[number, tries[number]]] for number in found if tries[number] < 6}
    kept: list[int] = []
    for number, row in enumerate(choices):
        allowed = [tried for tried, picture in enumerate(row) if picture not in kept]
        assert tries[number] == (allowed[0] if allowed else 6)
        kept += [row[allowed[0]]] if allowed else []
