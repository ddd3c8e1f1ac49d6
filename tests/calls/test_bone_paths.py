"""The reference systems' sampling, each part against a case worked out by hand."""

import numpy as np
import pytest
import torch

from gen.calls.bone_paths import (
    PathSettings,
    local_guidance,
    sample_paths,
    threshold,
    thresholded,
    times_of,
)
from gen.calls.fusion import mean_matched, poisson_blend, without_crumbs
from gen.objectives.schedule import build_scheduler
from gen.schema import DiffusionConfig

SCHEDULE = DiffusionConfig(prediction="epsilon", schedule="scaled_linear", beta_start=0.00085, beta_end=0.012)


def test_thresholds_of_both_papers():
    assert [threshold(1.4, 0.003, step, lag=1) for step in (0, 1, 2)] == pytest.approx([1.4, 1.4, 1.403])  # BS-LDM
    assert [threshold(2.0, 0.025, step) for step in (0, 1, 49)] == pytest.approx([2.0, 2.025, 3.225])  # GL-LCM


def test_each_image_has_its_own_limit():
    x0 = torch.tensor([-5.0, -1.0, 0.5, 4.0]).view(1, 1, 2, 2).repeat(2, 1, 1, 1)
    held = thresholded(x0, torch.tensor([2.0, 3.5]))
    assert held[0].flatten().tolist() == [-2, -1, 0.5, 2]
    assert held[1].flatten().tolist() == [-3.5, -1, 0.5, 3.5]


def test_guidance_by_hand():
    """3 e - 2 n / std(e), std with Bessel's correction as torch has it: of (1, -1, 1, -1) it is 2 / sqrt(3)."""
    noise = torch.tensor([1.0, -1.0, 1.0, -1.0]).view(1, 1, 2, 2)
    guided = local_guidance(noise, 3.0, torch.full_like(noise, 0.5))
    torch.testing.assert_close(guided, 3 * noise - np.sqrt(3) / 2)
    torch.testing.assert_close(local_guidance(noise, 1.0, torch.randn_like(noise)), noise)


def test_times_are_those_of_the_published_sampler():
    assert times_of(50, 1000)[:2] == [999, 979] and times_of(50, 1000)[-1] == 19


def test_a_perfect_model_finds_its_image_in_one_batch_a_step():
    scheduler = build_scheduler(SCHEDULE)
    truth = torch.cat([torch.full((2, 1, 4, 4), 0.5), torch.full((2, 1, 4, 4), -1.0)])
    calls = []

    def predict(z, t):
        calls.append(len(z))
        cumulative = scheduler.alphas_cumprod[t].view(-1, 1, 1, 1)
        return (z - cumulative.sqrt() * truth) / (1 - cumulative).sqrt()

    torch.manual_seed(0)
    noise = torch.randn(2, 1, 4, 4)
    settings = PathSettings(steps=5, guidance=1.0)
    found = sample_paths(predict, scheduler.alphas_cumprod, noise, settings, lambda: torch.randn_like(noise))
    torch.testing.assert_close(torch.cat(found), truth, atol=1e-4, rtol=0)
    assert calls == [4] * 5


def test_both_paths_start_from_the_same_noise():
    scheduler, seen = build_scheduler(SCHEDULE), []

    def predict(z, t):
        seen.append(z)
        return z / 2

    noise = torch.randn(2, 1, 4, 4)
    draw = lambda: torch.zeros_like(noise)  # noqa: E731
    settings = PathSettings(steps=2, guidance=1.0, global_base=9e9, local_base=9e9)
    everywhere, within = sample_paths(predict, scheduler.alphas_cumprod, noise, settings, draw)
    assert torch.equal(*seen[0].chunk(2)) and torch.equal(everywhere, within)


def test_means_are_matched_within_the_mask():
    mask = np.array([[True, True], [False, False]])
    matched = mean_matched(np.array([[0.1, 0.3], [0.9, 0.9]]), np.array([[0.5, 0.7], [0.0, 0.0]]), mask)
    np.testing.assert_allclose(matched[0], [0.5, 0.7])  # +0.4


def test_crumbs_are_left_out():
    mask = np.zeros((40, 40), bool)
    mask[2:12, 2:12], mask[20:29, 20:31] = True, True  # 100 and 99 pixels
    kept = without_crumbs(mask)
    assert kept[5, 5] and not kept[25, 25] and kept.sum() == 100


@pytest.fixture
def square():
    mask = np.zeros((24, 30), bool)
    mask[4:20, 5:25] = True
    return mask


def test_level_and_the_black_outside_do_not_count(square):
    """A local image that differs from the global one in level alone, and is black outside, gives the global one."""
    everywhere = np.random.default_rng(0).random(square.shape)
    local = np.where(square, everywhere + 0.3, 0.0)
    np.testing.assert_allclose(poisson_blend(local, everywhere, square), everywhere, atol=1e-9)


def test_the_local_images_gradients_are_kept_within(square):
    everywhere = np.tile(np.linspace(0, 1, square.shape[1]), (square.shape[0], 1))
    local = np.where(square, 0.2 + 0.1 * np.random.default_rng(0).random(square.shape), 0.0)
    blended = poisson_blend(local, everywhere, square)
    laplacian = lambda image: np.diff(image, 2, axis=0)[:, 1:-1] + np.diff(image, 2, axis=1)[1:-1]  # noqa: E731
    inside, rim = np.s_[7:15, 8:20], np.s_[4:6, 5:23]  # of the interior: 3 pixels from the rim on, and the rim
    np.testing.assert_allclose(laplacian(blended)[inside], laplacian(local)[inside], atol=1e-9)
    np.testing.assert_allclose(laplacian(blended)[rim], laplacian(everywhere)[rim], atol=1e-9)
    border = square.copy()
    border[5:19, 6:24] = False
    assert np.array_equal(blended[~square | border], everywhere[~square | border])


def test_a_step_by_a_linear_system():
    """A mask of 9 x 9, three wide where it is narrower by 3: a local step of 1 after the first column there."""
    everywhere, local, mask = np.zeros((11, 11)), np.zeros((11, 11)), np.zeros((11, 11), bool)
    mask[1:10, 1:10] = True  # 3 narrower: rows and columns 4 to 6
    local[:, 5:] = 1.0
    divergence = np.zeros((9, 9))
    divergence[3:6, 3], divergence[3:6, 4] = 1, -1  # forward differences at column 4, of the box the fourth
    number, matrix = np.arange(49).reshape(7, 7), np.zeros((49, 49))
    for row, column in np.ndindex(7, 7):
        matrix[number[row, column], number[row, column]] = -4
        for r, c in ((row + 1, column), (row - 1, column), (row, column + 1), (row, column - 1)):
            if 0 <= r < 7 and 0 <= c < 7:
                matrix[number[row, column], number[r, c]] = 1
    expected = np.linalg.solve(matrix, divergence[1:8, 1:8].ravel()).reshape(7, 7)
    np.testing.assert_allclose(poisson_blend(local, everywhere, mask)[2:9, 2:9], expected, atol=1e-12)


def test_nothing_to_blend():
    image = np.random.default_rng(0).random((8, 8))
    edge = np.zeros((8, 8), bool)
    edge[0] = True
    assert np.array_equal(poisson_blend(1 - image, image, edge), image)
