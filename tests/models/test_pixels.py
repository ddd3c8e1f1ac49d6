"""The codec of pixel models gives back every pixel, also from a folder."""

import pytest
import torch
from torch.nn import functional as F

from gen.models.loading import load_codec
from gen.models.pixels import named_pixel_codec, pixel_codec


def test_latents_are_the_image():
    image = torch.rand(2, 1, 16, 24) * 2 - 1
    codec = pixel_codec()
    z = codec.sample(codec.moments(image))
    assert torch.equal(z, image) and torch.equal(codec.decode(z), image)
    assert codec.latent_shape(256) == (1, 256, 256)


def test_nothing_is_added_when_the_posterior_is_drawn_from():
    codec, image = pixel_codec(), torch.rand(1, 1, 8, 8)
    moments = codec.moments(image)
    torch.testing.assert_close(codec.sample(moments, torch.randn(1, 4, 4, 4)), image, rtol=0, atol=1e-5)


def test_a_recipe_names_it_and_a_folder_keeps_it(tmp_path):
    image = torch.rand(1, 1, 8, 8)
    load_codec("pixels").save_pretrained(tmp_path / "vae")
    assert torch.equal(load_codec(tmp_path / "vae").reconstruct(image), image)


@pytest.mark.parametrize("fold", [2, 4, 8])
def test_blocks_of_pixels_become_channels_and_come_back(fold, tmp_path):
    image = torch.rand(2, 1, 16, 32) * 2 - 1
    pixel_codec(fold).save_pretrained(tmp_path / "vae")
    codec = load_codec(tmp_path / "vae")
    z = codec.sample(codec.moments(image))
    assert torch.equal(z, F.pixel_unshuffle(image, fold)) and torch.equal(codec.decode(z), image)
    assert codec.lossless and codec.latent_shape(256) == (fold * fold, 256 // fold, 256 // fold)


def test_names_of_pixel_codecs():
    assert named_pixel_codec("pixels").latent_shape(32) == (1, 32, 32)
    assert named_pixel_codec("pixels-8").latent_shape(32) == (64, 4, 4)
    assert all(named_pixel_codec(name) is None for name in ("pixels-", "pixels-7", "pixels-0", "pixels8", "vae"))
