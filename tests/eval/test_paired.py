"""Bone suppression on cases worked out by hand."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio
from torch import nn

from gen.errors import UserError
from gen.eval.bone_measures import as_published, bone_suppression, errors, perceptual_distance
from gen.eval.paired import IDENTITY, measure_pairs
from gen.eval.perceptual import perceptual_network, reader_distance

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


def test_seconds_and_calls_stand_in_the_table_where_they_are_known(tmp_path):
    table = write_table(tmp_path, rows=2)
    assert not any("an image" in figure.name for figure in measure_pairs(table, draws=50).figures)
    rows = pd.read_csv(table).assign(seconds=[0.5, 1.5], calls=["8", ""])
    rows.to_csv(table, index=False)
    section = measure_pairs(table, draws=50)
    assert section.figure("seconds an image", "output").value == 1.0
    assert section.figure("calls an image", "output").value == 8 and section.figure("calls an image", "output").n == 1


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


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """The backbone of torch.hub, with weights that nobody trained; no net to fetch others from."""
    from torchvision.models import SqueezeNet1_1_Weights, squeezenet1_1

    home = tmp_path / "torch"
    (home / "hub/checkpoints").mkdir(parents=True)
    monkeypatch.setenv("TORCH_HOME", str(home))
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    file = home / "hub/checkpoints" / SqueezeNet1_1_Weights.DEFAULT.url.rsplit("/", 1)[-1]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        torch.save(squeezenet1_1(weights=None).state_dict(), file)
    return file


def test_lpips_correct_and_as_published(hub, pair):
    from torchmetrics.image import LearnedPerceptualImagePatchSimilarity

    cxr, target = pair
    network = perceptual_network("squeeze")
    for published in (False, True):
        assert perceptual_distance(target, target, network, published) == 0
        assert perceptual_distance(target, cxr, network, published) > 0
    rgb = [torch.from_numpy(image).float().expand(1, 3, -1, -1) for image in (target, cxr)]
    expected = LearnedPerceptualImagePatchSimilarity("squeeze", normalize=True)(*rgb)  # takes 0..1 to -1..1 itself
    assert perceptual_distance(target, cxr, network) == pytest.approx(float(expected), rel=1e-4)
    large = [np.repeat(np.repeat(np.round(image * 255) / 255, 32, 0), 32, 1) for image in (target, cxr)]
    single = [torch.from_numpy(image).float()[None, None] for image in large]  # as BS-LDM feeds it
    with torch.no_grad():
        expected = float(network.net(*single))
    assert perceptual_distance(*large, network, published=True) == pytest.approx(expected, rel=1e-4)
    assert expected != pytest.approx(perceptual_distance(*large, network), rel=0.01)


def test_lpips_over_the_shipped_reader(pair):
    cxr, target = (np.tile(image, (4, 4))[:101, :75] for image in pair)
    network = perceptual_network("reader")
    assert perceptual_distance(target, target, network) == 0
    near = perceptual_distance(target, 0.8 * target + 0.2 * cxr, network)
    assert 0 < near < perceptual_distance(target, cxr, network)
    assert perceptual_distance(cxr, target, network) == pytest.approx(perceptual_distance(target, cxr, network), 1e-4)


def test_reader_distance_by_hand():
    stages = nn.ModuleList([nn.Conv2d(1, 2, 1, bias=False)])
    with torch.no_grad():
        stages[0].weight.copy_(torch.tensor([3.0, 4.0]).view(2, 1, 1, 1))
    images, others = torch.tensor([[[[1.0, -1.0]]]]), torch.tensor([[[[1.0, 1.0]]]])
    # standardised, each pixel points along +-(0.6, 0.8): the left ones agree, the right ones are opposite, 4 apart
    assert reader_distance(stages, images, others).item() == pytest.approx(2.0)


def test_lpips_stands_in_the_table_where_it_is_asked_for(hub, tmp_path):
    table = write_table(tmp_path, rows=2)
    section = measure_pairs(table, draws=50, backbone="squeeze")
    for name in ("LPIPS", "LPIPS (as published)"):
        good, bad, idle = (section.figure(name, method) for method in ("output", "output_worse", IDENTITY))
        assert 0 < good.value < bad.value and idle.value > 0
        assert good.low <= good.value <= good.high and good.better == "low"
        assert all(name in [row[0] for row in paired.rows] for paired in section.tables)
    names = {figure.name for figure in measure_pairs(table, draws=50).figures}
    assert "MSE" in names and not any("LPIPS" in name for name in names)


def test_lpips_without_its_weights_is_refused_before_an_image_is_read(hub, tmp_path):
    table = write_table(tmp_path, rows=2)
    (tmp_path / "target0.png").write_bytes(b"no image")
    hub.unlink()
    command = [sys.executable, "-c", "from gen.eval.cli import main; main()", "bone", "--pairs", str(table)]
    done = subprocess.run([*command, "--lpips", "squeeze"], capture_output=True, text=True, timeout=280)
    assert done.returncode == 2 and done.stdout == ""
    line = done.stderr.splitlines()[-1]
    assert line.startswith(f"error: --lpips squeeze: {hub} is not there") and f"/{hub.name} there" in line
    hub.write_bytes(b"damaged")
    with pytest.raises(UserError, match="squeezenet1_1-b8a52dc0.pth cannot be read"):
        measure_pairs(table, backbone="squeeze")


class Planted:
    """What a hostile file would have run."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (self.path, "w")


def test_the_weights_run_no_code(hub, tmp_path):
    torch.save({"features.0.weight": Planted(str(tmp_path / "planted"))}, hub)
    with pytest.raises(UserError, match="cannot be read"):
        perceptual_network("squeeze")
    assert not (tmp_path / "planted").exists()
