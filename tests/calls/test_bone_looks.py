"""Looks of which the mean is taken: placed back where they were, at most eight, none mirrored."""

import numpy as np
import pytest
import torch

from gen.calls.bone_looks import LOOKS, averaged, moved
from gen.data.images import model_pixels
from gen.errors import UserError


@pytest.fixture
def image():
    rows, columns = np.mgrid[:300, :300] / 300
    return (0.5 + 0.3 * np.sin(9 * rows) * np.cos(7 * columns)).astype(np.float32)


def pointwise(pixels):
    return (pixels[:, 0] + 1) / 2


def test_moving_and_moving_back():
    images = torch.rand(1, 1, 20, 24)
    assert torch.equal(moved(images, 0, 0), images)
    assert torch.equal(moved(images, 3, -2)[..., :18, 3:], images[..., 2:, :21])
    back = moved(moved(images, 3, -2), -3, 2)
    assert torch.equal(back[..., 2:, :21], images[..., 2:, :21])


def test_what_every_look_finds_alike_lies_in_its_place(image):
    found = averaged(pointwise, image, 64, 16, len(LOOKS)).numpy()
    assert found.shape == (96, 96)
    truth = model_pixels(image, 96)
    inside = np.s_[16:-16, 16:-16]
    np.testing.assert_allclose(found[inside], truth[inside] / 2 + 0.5, atol=0.01)


def test_errors_of_the_grid_average_out(image):
    def on_a_grid(pixels):
        wrong = torch.zeros_like(pixels[:, 0])
        wrong[:, ::4, ::4] = 1.0
        return wrong

    one, many = (averaged(on_a_grid, image, 64, 16, count).std() for count in (1, 8))
    assert many < one / 2


@pytest.mark.parametrize(("side", "largest"), [(200, 256), (256, 256), (290, 288), (600, 384)])
def test_sides_that_the_network_can_take_and_the_image_can_fill(side, largest):
    """One call a look; none enlarges the image beyond its own pixels, but to the network's size."""
    seen, image = [], np.zeros((side, side - 40), np.float32)

    def layers(pixels):
        seen.append(pixels.shape[-1])
        return pixels[:, 0]

    averaged(layers, image, 256, 32, 8)
    assert len(seen) == 8 and all(side % 32 == 0 for side in seen) and min(seen) == 256 and max(seen) == largest


@pytest.mark.parametrize("count", [0, 9])
def test_as_many_looks_as_there_are(image, count):
    with pytest.raises(UserError, match=f"looks={count}: between 1 and 8"):
        averaged(pointwise, image, 64, 16, count)
