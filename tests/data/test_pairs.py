"""Pairs in other looks: what differs within a pair stays the bone; drawn again they are the same."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from gen.data import pair_looks
from gen.data.index import read_index
from gen.data.pair_looks import LEVELS, grey_levels, matched, moved, processed, replaced, varied, with_contrast
from gen.data.pairs import vary_index
from gen.errors import UserError

SIDE = 64


def pair(seed=0):
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:SIDE, :SIDE] / SIDE
    soft = 0.2 + 0.5 * np.hypot(rows - 0.5, columns - 0.5) + 0.02 * rng.random((SIDE, SIDE))
    image = soft.copy()
    image[20:24] += 0.1
    return image.astype(np.float32), soft.astype(np.float32)


def test_without_bone_both_images_stay_the_same():
    _, soft = pair()
    greys = np.sort(np.random.default_rng(1).random((3, 65)), axis=1)
    for seed in range(8):
        image, other = varied(soft, soft, np.random.default_rng(seed), greys)
        np.testing.assert_allclose(image, other, atol=1e-6)


def test_bone_stays_bone_and_brightens():
    image, soft = varied(*pair(), np.random.default_rng(3))
    assert image.shape == (SIDE, SIDE) and 0 <= soft.min() and image.max() <= 1
    bone = (image - soft).mean(1)
    assert 14 <= bone.argmax() <= 30 and bone.max() > 0.03


def test_most_of_the_local_level_stays(monkeypatch):
    """Between the bones nothing is taken in the phantom; at another workstation the gaps grow brighter instead."""
    image, soft = pair()
    image[::8] = soft[::8] + 0.1

    def mean_bone(level):
        monkeypatch.setattr(pair_looks, "LEVEL", (level, level))
        first, second = varied(image, soft, np.random.default_rng(2))
        return (first - second)[20:44, 20:44].mean()

    none, half, whole = (mean_bone(level) for level in (0.0, 0.5, 1.0))
    assert none > 0.005 and half == pytest.approx(none / 2, rel=0.25) and abs(whole) < none / 4


def test_a_pair_in_its_own_look_keeps_its_bone(monkeypatch):
    image, soft = pair()
    monkeypatch.setattr(pair_looks, "STILL", 1.1)
    for seed in range(8):
        first, second = replaced(image, soft, np.random.default_rng(seed))
        clear = (first < 1) & (second < 1)
        np.testing.assert_allclose((first - second)[clear], (image - soft)[clear], atol=1e-6)
    nodules = [replaced(image, soft, np.random.default_rng(seed))[1] - soft for seed in range(8)]
    assert 0 < sum(part.max() > 0.02 for part in nodules) < 8
    monkeypatch.setattr(pair_looks, "STILL", -0.1)
    assert not np.allclose(replaced(image, soft, np.random.default_rng(0))[1], soft, atol=0.02)


def test_contrast_raises_faint_bone_and_holds_bright_bone():
    bone = np.array([0.001, 10.0, -10.0])
    np.testing.assert_allclose(with_contrast(bone, 2.0, 0.2), [0.002, 0.2, -0.2], atol=1e-6)


def test_latitude_is_linear():
    image, soft = pair()
    whole = processed(image, 0.2, 0.5)
    apart = processed(soft, 0.2, 0.5) + processed(image - soft, 0.2, 0.5)
    np.testing.assert_allclose(whole, apart, atol=1e-6)


def test_moving_nothing_and_moving_right():
    image = pair()[0][None]
    np.testing.assert_allclose(moved(image, 0, 0, 0, 1), image, atol=1e-5)
    shifted = moved(image, 0, 8 / SIDE, 0, 1)[0]  # what lay eight pixels to the right
    np.testing.assert_allclose(shifted[:, : SIDE - 8], image[0][:, 8:], atol=1e-5)


def test_grey_levels_are_taken_over(tmp_path):
    other = np.random.default_rng(0).beta(2, 5, (SIDE, SIDE))
    Image.fromarray(np.round(other * 255).astype(np.uint8)).save(tmp_path / "x.png")
    greys = grey_levels([str(tmp_path / "x.png")])[0]
    image, soft = pair()
    found = np.quantile(matched(np.stack([image, soft]), greys, 1.0)[0], LEVELS)
    np.testing.assert_allclose(found, greys, atol=0.02)


@pytest.fixture
def index(tmp_path):
    rows = []
    for number, split in enumerate(("train", "train", "val")):
        for name, picture in zip(("x", "s"), pair(number), strict=True):
            Image.fromarray(np.round(np.clip(picture, 0, 1) * 255).astype(np.uint8)).save(
                tmp_path / f"{name}{number}.png"
            )
        rows.append({"image": f"x{number}.png", "soft": f"s{number}.png", "patient_id": f"p{number}", "split": split})
    pd.DataFrame(rows).to_csv(tmp_path / "index.csv", index=False)
    return tmp_path / "index.csv"


def test_training_pairs_alone_and_the_same_again(index, tmp_path):
    table = vary_index(index, tmp_path / "looks", None, 2, 7)
    assert table["split"].tolist() == ["train"] * 6 + ["val"]
    assert table["image"].nunique() == 7 and table["image"].iloc[-1].endswith("x2.png")
    assert len(vary_index(index, tmp_path / "looks", None, 2, 7, plain=False)) == 5
    first = (tmp_path / "looks" / "images" / "x0_1.png").read_bytes()
    for file in (tmp_path / "looks").rglob("*.png"):
        file.unlink()
    vary_index(index, tmp_path / "looks", None, 2, 7)
    assert (tmp_path / "looks" / "images" / "x0_1.png").read_bytes() == first
    assert len(read_index(index)) == 3


def test_an_index_without_pairs(tmp_path):
    (tmp_path / "i.csv").write_text("image,patient_id,split\nx.png,p,train\n")
    with pytest.raises(UserError, match="column 'soft'"):
        vary_index(tmp_path / "i.csv", tmp_path / "looks", None, 1, 0)
