"""Augmentation: small, repeatable, and never a mirror image."""

import pytest
import torch

from gen.data import augment as module
from gen.data.augment import augment, augment_batch


def generator(seed):
    return torch.Generator().manual_seed(seed)


def blob(row, column, side=64):
    """One bright spot."""
    rows, columns = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    return (2 * torch.exp(-((rows - row) ** 2 + (columns - column) ** 2) / 18.0) - 1)[None]


def centre(image):
    weight = (image[0] + 1).clamp_min(0)
    side = torch.arange(image.shape[-1], dtype=torch.float32)
    return (weight.sum(1) @ side / weight.sum()).item(), (weight.sum(0) @ side / weight.sum()).item()


def test_shape_range_and_repeatability():
    image = torch.rand(1, 40, 40, generator=generator(0)) * 2 - 1
    outputs = [augment(image, generator(seed)) for seed in (1, 1, 2)]
    assert outputs[0].shape == image.shape and outputs[0].dtype == image.dtype
    assert torch.equal(outputs[0], outputs[1]) and not torch.equal(outputs[0], outputs[2])
    assert not torch.equal(outputs[0], image)
    assert all(-1 <= output.min() and output.max() <= 1 for output in outputs)


@pytest.mark.parametrize("seed", range(20))
def test_a_spot_stays_on_its_side_and_near_its_place(seed):
    row, column = centre(augment(blob(20, 14), generator(seed)))
    assert abs(row - 20) < 6 and abs(column - 14) < 6


def test_geometry_reaches_its_limits_and_not_beyond(monkeypatch):
    """With one change at a time: a full shift moves by 3 % of the side, a full scale by 5 % of the distance."""
    image = blob(20, 14)
    for name in ("MAX_ROTATION", "MAX_SHIFT", "MAX_SCALE", "MAX_LOG_GAMMA"):
        monkeypatch.setattr(module, name, 0.0)
    whole = slice(0, 64), slice(0, 64)
    torch.testing.assert_close(augment(image, generator(0), whole), image, atol=1e-5, rtol=0)
    draws = 2 * torch.rand(5, generator=generator(3)) - 1
    monkeypatch.setattr(module, "MAX_SHIFT", 0.1)
    row, column = centre(augment(image, generator(3), whole))
    assert column - 14 == pytest.approx(6.4 * draws[1].item(), abs=0.6)
    assert row - 20 == pytest.approx(6.4 * draws[2].item(), abs=0.6)


def test_contrast_keeps_black_white_and_order(monkeypatch):
    for name in ("MAX_ROTATION", "MAX_SHIFT", "MAX_SCALE"):
        monkeypatch.setattr(module, name, 0.0)
    ramp = torch.linspace(-1, 1, 64).expand(1, 64, 64).contiguous()
    output = augment(ramp, generator(5))[0, 32]
    gamma = torch.exp(module.MAX_LOG_GAMMA * (2 * torch.rand(5, generator=generator(5)) - 1)[4])
    torch.testing.assert_close(output, 2 * ((ramp[0, 32] + 1) / 2) ** gamma - 1, atol=1e-4, rtol=0)
    assert output[0] == -1 and output[-1] == 1 and (output.diff() > 0).all()


def test_no_black_edge_comes_in():
    image = torch.rand(1, 64, 64, generator=generator(9)) * 0.2 + 0.7
    outputs = torch.stack([augment(image, generator(seed)) for seed in range(10)])
    assert outputs.min() > 0.6


def test_a_black_frame_stays_where_it_is_and_what_is_in_it_moves():
    image = -torch.ones(1, 64, 64)
    image[:, 10:54] = torch.rand(1, 44, 64, generator=generator(9)) * 0.2 + 0.7
    outputs = torch.stack([augment(image, generator(seed)) for seed in range(10)])
    assert (outputs[:, :, :10] == -1).all() and (outputs[:, :, 54:] == -1).all()
    assert outputs[:, :, 10:54].min() > 0.6 and not torch.equal(outputs[0], outputs[1])
    rows, columns = module.content_box(image)
    assert (rows, columns) == (slice(10, 54), slice(0, 64))


def test_a_pair_moves_within_the_frame_of_its_first_image():
    first, second = -torch.ones(1, 32, 32), torch.full((1, 32, 32), 0.5)
    first[:, 8:] = 0.5
    moved = augment(second, generator(1), module.content_box(first))
    assert (moved[:, :8] == 0.5).all()  # outside the first image's frame


def test_black_stays_black_to_the_edge():
    outputs = torch.stack([augment(-torch.ones(1, 32, 32), generator(seed)) for seed in range(10)])
    assert outputs.max() == -1


def test_batches_move_within_the_same_limits_and_take_their_masks_along():
    images = torch.stack([blob(20, 14)] * 40)
    moved, masks = augment_batch(images, 1.0, (images > 0).float(), generator(0))
    places = torch.tensor([centre(image) for image in moved])
    assert (places - torch.tensor([20.0, 14.0])).abs().max() < 6 and places.std(0).min() > 0.5
    assert -1 <= moved.min() and moved.max() <= 1
    for place, mask in zip(places, masks, strict=True):
        assert torch.tensor(centre(2 * mask - 1)).sub(place).abs().max() < 1.0
    again, _ = augment_batch(images, 1.0, None, generator(0))
    assert torch.equal(again, moved) and not torch.equal(moved[0], moved[1])
    further = torch.tensor([centre(image) for image in augment_batch(images, 2.0, None, generator(0))[0]])
    assert further.std(0).min() > 1.5 * places.std(0).min()


def test_batches_without_strength_stay():
    images = torch.rand(3, 1, 16, 16, generator=generator(0)) * 2 - 1
    assert augment_batch(images, 0.0)[0] is images
    assert augment_batch(-torch.ones(4, 1, 32, 32), 3.0, None, generator(1))[0].max() == -1  # black stays black
