import shutil

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter

from gen.data.duplicates import exact_groups, near_pairs
from gen.data.inspection import counts, inspect, mean_chest, polarity, report
from gen.data.looks import content, local_contrast, look_at, look_at_all

SIDE = 256


def chest(seed, side=SIDE):
    """The mean chest with coarse and fine details of its own: what a radiograph is to the check."""
    rng = np.random.default_rng(seed)
    big = np.asarray(Image.fromarray(mean_chest()).resize((side, side), Image.Resampling.BICUBIC))
    for sigma, size in ((side / 16, 0.06), (side / 64, 0.05), (1, 0.02)):
        noise = gaussian_filter(rng.standard_normal((side, side)), sigma)
        big = big + size * noise / noise.std()
    return np.clip(big, 0, 1)


def save(path, image, **options):
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(np.round(image * 255).astype(np.uint8)).save(path, **options)
    return str(path)


@pytest.fixture
def index(tmp_path):
    """Six different radiographs, three patients a split."""
    images = [save(tmp_path / "images" / f"{number}.png", chest(number)) for number in range(6)]
    splits = ["train"] * 3 + ["test"] * 3
    return pd.DataFrame({"image": images, "patient_id": list("abcdef"), "split": splits, "view": "PA"})


def kinds(problems):
    return [(problem.kind, problem.row) for problem in problems]


def with_copy(index, tmp_path, image, name="copy.png", **options):
    row = {
        "image": save(tmp_path / "images" / name, image, **options),
        "patient_id": "z",
        "split": "test",
        "view": "AP",
    }
    return pd.concat([index, pd.DataFrame([row])], ignore_index=True)


def test_different_radiographs_have_no_problems(index):
    assert inspect(index) == []


def test_the_table_is_judged_without_images_or_columns(index):
    assert inspect(index.drop(columns="split"))[0].line().startswith("column 'split' is missing")
    assert [problem.severity for problem in inspect(index.assign(view="OBLIQUE"), images=False)] == ["error"] * 6
    assert inspect(index.iloc[:0])[0].line().startswith("the table has no rows")


def test_equal_pixels_in_another_container_are_an_error_across_splits(index, tmp_path):
    grown = with_copy(index, tmp_path, np.asarray(Image.open(index["image"][0])) / 255, "copy.tif")
    problems = inspect(grown)
    assert kinds(problems) == [("same pixels in two splits", 7)] and problems[0].severity == "error"
    assert "0.png" in problems[0].line() and "train and test" in problems[0].line()
    problems = inspect(grown.assign(split="train"))
    assert kinds(problems) == [("same pixels in one split", 7)] and problems[0].severity == "warning"


def resaved(image):
    return image[::2, ::2]


def darker(image):
    return image**1.6


def framed(image):
    return np.pad(image, SIDE // 20)


def inverted(image):
    return 1 - image


@pytest.mark.parametrize("change", [resaved, darker, framed, inverted])
def test_a_changed_copy_across_splits_is_a_warning(index, tmp_path, change):
    copy = change(chest(0))
    problems = inspect(with_copy(index, tmp_path, copy, "copy.jpg", quality=60))
    found = {problem.kind: problem for problem in problems}
    near = found.pop("near-duplicate in two splits")
    assert (near.row, near.severity) == (7, "warning") and near.other.endswith("0.png")
    assert set(found) <= {"wide border", "wrong polarity"}
    assert ("wrong polarity" in found) == (change is inverted)


def test_polarity_follows_the_mark(index, tmp_path):
    grown = with_copy(index, tmp_path, 1 - chest(9)).assign(inverted=False)
    assert kinds(inspect(grown)) == [("wrong polarity", 7)]
    assert inspect(grown.assign(inverted=[False] * 6 + [True])) == []
    problems = inspect(grown.assign(inverted=[True] + [False] * 5 + [True]))
    assert kinds(problems) == [("wrong polarity", 1)] and "is marked inverted" in problems[0].detail


def test_known_inverted_images_of_nih_and_no_others(shared_data):
    table = pd.read_csv(shared_data / "nih_cxr14" / "metadata.csv", dtype=str).iloc[1150:1300]
    paths = [str(shared_data / "nih_cxr14" / image) for image in table["image"]]
    scores = polarity(np.stack([look.thumbnail for look in look_at_all(paths)]))
    found = set(table["image"][(scores < -0.2).all(axis=1)])
    assert found == set(table["image"][table["inverted"] == "1"]) and len(found) == 2


@pytest.mark.parametrize("grey", [0.0, 0.5, 1.0])
def test_frames_are_cut_and_wide_ones_reported(index, tmp_path, grey):
    image = chest(9)
    wide = np.pad(image, ((40, 0), (0, 60)), constant_values=grey)
    assert abs(content(wide).shape[0] - SIDE) <= 4 and abs(content(wide).shape[1] - SIDE) <= 4
    problems = inspect(with_copy(index, tmp_path, wide))
    assert kinds(problems) == [("wide border", 7)] and "30% of the area" in problems[0].detail


def test_a_burnt_out_abdomen_is_no_frame():
    image = chest(0)
    fade = np.clip((np.arange(SIDE) - SIDE * 0.5) / (SIDE * 0.25), 0, 1)[:, None]
    assert content(image * (1 - fade) + fade).shape == (SIDE, SIDE)
    assert content(np.zeros((50, 50))).size > 0


def test_unreadable_and_absent_images_and_unknown_views(index, tmp_path):
    (tmp_path / "images" / "1.png").write_bytes(b"no image")
    (tmp_path / "images" / "2.png").unlink()
    problems = inspect(index.assign(view=["PA", "PA", "PA", "UNKNOWN", "UNKNOWN", "AP"]))
    assert [problem.severity for problem in problems] == ["error"] * 2 + ["warning"] * 2
    assert set(kinds(problems)) == {("table", 0), ("unreadable image", 2), ("unknown view", 4), ("unknown view", 5)}
    lines = counts(problems)
    assert lines[0] == ["severity", "problem", "number"] and ["warning", "unknown view", "2"] in lines
    table = report(problems)
    assert table["row"].tolist() == [0, 2, 4, 5] and "cannot read this image" in table["detail"][1]
    assert report([]).columns.tolist() == table.columns.tolist()


def test_processes_see_what_one_sees(index):
    alone, shared = look_at_all(index["image"].tolist()), look_at_all(index["image"].tolist(), workers=2)
    for one, other in zip(alone, shared, strict=True):
        assert (one.digest, one.border, one.error) == (other.digest, other.border, other.error)
        assert np.array_equal(one.thumbnail, other.thumbnail)


def test_groups_and_pairs_by_themselves(index):
    assert exact_groups(["a", "", "b", "a", "", "a"]) == [[0, 3, 5]]
    thumbnails = np.stack([look_at(image).thumbnail for image in index["image"]] * 2)
    pairs = near_pairs(thumbnails, ["train"] * 6 + ["val"] * 3 + ["test"] * 3)
    assert sorted((a, b) for a, b, _ in pairs) == [(number, number + 6) for number in range(6)]
    assert near_pairs(thumbnails, ["train"] * 12) == []
    flat = np.full((2, 64, 64), 7, dtype=np.uint8)
    assert near_pairs(flat, ["train", "test"]) == []


def test_local_contrast_ignores_brightness_and_scale():
    image = chest(0, 64)
    first, second = local_contrast(np.stack([image, 0.3 + 0.4 * image]), 4)
    assert np.sum(first * second) > 0.99 and abs(first.mean()) < 1e-6 and np.linalg.norm(first) == pytest.approx(1)


def test_many_images_are_compared_in_blocks(monkeypatch, index):
    monkeypatch.setattr("gen.data.duplicates.BLOCK", 2)
    thumbnails = np.stack([look_at(image).thumbnail for image in index["image"]] * 2)
    assert len(near_pairs(thumbnails, ["train"] * 6 + ["test"] * 6)) == 6


def test_a_copied_file_is_found_by_the_command(index, tmp_path):
    shutil.copy(index["image"][0], tmp_path / "images" / "5.png")
    assert ("same pixels in two splits", 6) in kinds(inspect(index, workers=2))
