"""Bad radiographs are put aside and listed once; the run goes on until there are too many."""

import csv
import multiprocessing
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from gen.data.dataset import CXRDataset
from gen.data.quarantine import Quarantine
from gen.errors import UserError


def listed(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_a_name_is_listed_once_with_its_reason(tmp_path):
    quarantine = Quarantine(tmp_path / "run" / "bad.csv", 0.5, 10)
    for _ in range(2):
        quarantine.add("a", 'a.png: broken, "really"')
    Quarantine(tmp_path / "run" / "bad.csv", 0.5, 10).add("b", "b.png: empty")
    assert [(row["image"], row["reason"]) for row in listed(quarantine.path)] == [
        ("a", 'a.png: broken, "really"'),
        ("b", "b.png: empty"),
    ]


def test_too_many_stop_the_run(tmp_path):
    quarantine = Quarantine(tmp_path / "bad.csv", 0.2, 10)
    quarantine.add("a", "a.png: broken")
    quarantine.add("b", "b.png: broken")
    with pytest.raises(UserError, match=r"c.png: broken \(3 of 10 images unreadable, data.max_bad_share allows 2"):
        quarantine.add("c", "c.png: broken")
    assert len(listed(quarantine.path)) == 3


def add_many(path: Path, first: int) -> None:
    for number in range(first, first + 40):
        Quarantine(path, 0.99, 1000).add(f"image {number}", "broken " * 20)


def test_several_processes_do_not_mix_their_lines(tmp_path):
    path = tmp_path / "bad.csv"
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=add_many, args=(path, 40 * number)) for number in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len({row["image"] for row in listed(path)}) == 120
    assert all(row["reason"].startswith("broken") for row in listed(path))


@pytest.fixture
def rows(tmp_path):
    for number in range(6):
        Image.fromarray(np.full((16, 16), 40 * number, np.uint8)).save(tmp_path / f"{number}.png")
    (tmp_path / "2.png").write_bytes((tmp_path / "2.png").read_bytes()[:30])
    (tmp_path / "3.png").unlink()
    images = [str(tmp_path / f"{number}.png") for number in range(6)]
    return pd.DataFrame({"image": images, "patient_id": list("abcdef"), "study_id": list("abcdef"), "view": "PA"})


def test_the_next_readable_row_stands_in(rows, tmp_path):
    dataset = CXRDataset(rows, 16, quarantine=Quarantine(tmp_path / "bad.csv", 0.4, len(rows)))
    sample = dataset[2, 9]
    assert sample["key"] == ":e:4.png" and sample["image"].equal(dataset.image(4))
    assert dataset.image(3).equal(dataset.image(4))
    assert [row["image"] for row in listed(tmp_path / "bad.csv")] == [":c:2.png", ":d:3.png"]
    assert "2.png" in listed(tmp_path / "bad.csv")[0]["reason"]


def test_without_a_quarantine_a_bad_image_is_an_error(rows):
    with pytest.raises(UserError, match="2.png"):
        CXRDataset(rows, 16)[2, 9]
