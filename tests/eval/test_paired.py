"""Bone suppression on cases worked out by hand."""

import numpy as np
import pytest
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio

from gen.errors import UserError
from gen.eval.bone_measures import as_published, bone_suppression, errors
from gen.eval.paired import IDENTITY, measure_pairs

SIDE = 32


@pytest.fixture
def pair():
    """A soft image and a radiograph with a rib of 0.2 over an eighth of it."""
    target = np.full((SIDE, SIDE), 0.4)
    target[:, SIDE // 2 :] = 0.5
    cxr = target.copy()
    cxr[:4] += 0.2
    return cxr, target


def test_a_perfect_output(pair):
    cxr, target = pair
    assert bone_suppression(cxr, target, target) == {"BSR": 1, "BSR residual": 1, "BSR two-sided": 1}
    found = errors(target, target)
    assert found["MSE"] == 0 and found["PSNR"] == np.inf and found["SSIM"] == pytest.approx(1)


def test_a_constant_offset_costs_error_but_no_bone(pair):
    cxr, target = pair
    assert bone_suppression(cxr, target, target + 0.1)["BSR two-sided"] == pytest.approx(1)
    assert errors(target, target + 0.1)["PSNR"] == pytest.approx(20)


def test_identity_by_hand(pair):
    cxr, target = pair
    found = bone_suppression(cxr, target, cxr)
    # the mean is shifted by 0.2 / 8: 7 of 8 pixels are too dark by 0.025, one is too bright by 0.175
    bone = 0.2**2
    assert found["BSR"] == pytest.approx(1 - 7 * 0.025**2 / bone)
    assert found["BSR residual"] == pytest.approx(1 - 0.175**2 / bone)
    assert found["BSR two-sided"] == pytest.approx(found["BSR"] + found["BSR residual"] - 1)


def test_published_bsr_hides_bone_that_was_left(pair):
    cxr, target = pair
    assert as_published(cxr, target, cxr)["BSR"] > 0.85 > bone_suppression(cxr, target, cxr)["BSR residual"]


def test_psnr_is_that_of_skimage(pair):
    cxr, target = pair
    noisy = np.clip(cxr + np.random.default_rng(0).normal(0, 0.05, cxr.shape), 0, 1)
    assert errors(target, noisy)["PSNR"] == pytest.approx(peak_signal_noise_ratio(target, noisy, data_range=1))


def test_published_psnr_wraps_as_eight_bit_numbers_do():
    target, output = np.zeros((1024, 1024)), np.full((1024, 1024), 20 / 255)
    # 20^2 = 400 = 144 modulo 256
    assert as_published(target, target, output)["PSNR"] == pytest.approx(10 * np.log10(255**2 / 144))
    assert errors(target, output)["PSNR"] == pytest.approx(10 * np.log10(255**2 / 400))
    assert as_published(target, target, np.full((1024, 1024), 16 / 255))["PSNR"] == 100  # 256 is 0


def write(path, image):
    Image.fromarray(np.round(image * 255).astype(np.uint8)).save(path)


def write_table(folder, rows=6):
    generator = np.random.default_rng(1)
    lines = ["cxr,target,output,output_worse"]
    for row in range(rows):
        target = generator.uniform(0.2, 0.7) + 0.1 * generator.random((SIDE, SIDE))
        cxr = target.copy()
        cxr[row : row + 4] += 0.2
        images = {"cxr": cxr, "target": target, "output": target + 0.01, "worse": 1 - cxr}
        for name, image in images.items():
            write(folder / f"{name}{row}.png", np.clip(image, 0, 1))
        lines.append(",".join(f"{name}{row}.png" for name in images))
    (folder / "pairs.csv").write_text("\n".join(lines))
    return folder / "pairs.csv"


def test_a_table_of_pairs(tmp_path):
    section = measure_pairs(write_table(tmp_path), draws=200)
    good, idle = section.figure("MSE", "output"), section.figure("MSE", IDENTITY)
    assert good.value < idle.value < section.figure("MSE", "output_worse").value
    assert good.low <= good.value <= good.high and good.n == 6
    assert good.control > 10 * good.value
    assert [verdict.kind for verdict in section.verdicts] == ["good", "bad"]
    assert section.tables[0].rows[0][0] == "BSR"


def test_what_is_wrong_with_a_table(tmp_path):
    table = write_table(tmp_path, rows=2)
    write(tmp_path / "target1.png", np.zeros((8, 8)))
    with pytest.raises(UserError, match=r"pair 2 .* differ in size .*target 8 x 8"):
        measure_pairs(table)
    (tmp_path / "target0.png").unlink()
    with pytest.raises(UserError, match=r"pairs.csv: row 1: target: no such image file 'target0.png'"):
        measure_pairs(table)
    (tmp_path / "bare.csv").write_text("cxr,output\na,b")
    with pytest.raises(UserError, match="'target' is missing"):
        measure_pairs(tmp_path / "bare.csv")
