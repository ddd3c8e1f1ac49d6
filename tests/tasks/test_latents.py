"""Batches as latents: links clean and zero where there is none, targets from their posterior."""

import pytest
import torch

from gen.models.codec import LatentCodec
from gen.models.pixels import pixel_codec
from gen.tasks.latents import target_latents, with_link_latents


@torch.no_grad()
def test_pixels_and_moments_give_the_same_latents():
    torch.manual_seed(0)
    codec = LatentCodec(latent_channels=8, block_out_channels=(8, 8, 16), layers_per_block=(1, 1, 1), unfold=2).eval()
    images, mask = torch.rand(3, 2, 1, 16, 16) * 2 - 1, torch.tensor([[True, True], [True, False], [False, False]])
    moments = codec.moments(images.flatten(0, 1)).unflatten(0, (3, 2))
    pixels = with_link_latents(codec, {"link_prior": images, "link_prior_mask": mask, "prompt": ["", "", ""]})
    cached = with_link_latents(codec, {"link_prior": moments, "link_prior_mask": mask, "prompt": ["", "", ""]})
    torch.testing.assert_close(pixels["link_prior"], cached["link_prior"])
    assert pixels["link_prior"].shape == (3, 2, *codec.latent_shape(16)) and pixels["prompt"] == ["", "", ""]
    torch.testing.assert_close(pixels["link_prior"][0, 1], codec.sample(codec.moments(images[0, 1:]))[0])
    assert not pixels["link_prior"][~mask].any()


@torch.no_grad()
def test_targets_are_drawn_or_the_mean():
    torch.manual_seed(0)
    codec = LatentCodec(latent_channels=4, block_out_channels=(8, 16), layers_per_block=(1, 1)).eval()
    batch = {"image": torch.rand(2, 1, 8, 8) * 2 - 1}
    mean = target_latents(codec, batch, draw=False)
    torch.testing.assert_close(mean, target_latents(codec, {"moments": codec.moments(batch["image"])}, draw=False))
    assert not torch.equal(target_latents(codec, batch), target_latents(codec, batch))


@pytest.mark.parametrize("lossless", [True, False])
def test_half_precision_does_not_round_pixels(lossless):
    """A radiograph has more grey levels than bfloat16; other codecs are as fast as autocast makes them."""
    image = torch.rand(1, 1, 16, 16) * 2 - 1
    codec = (
        pixel_codec(4)
        if lossless
        else LatentCodec(latent_channels=4, block_out_channels=(8, 16), layers_per_block=(1, 1)).eval()
    )
    batch = {"image": image, "link_image": image[:, None], "link_image_mask": torch.ones(1, 1, dtype=torch.bool)}
    with torch.no_grad():
        exact = codec.sample(codec.moments(image))
        with torch.autocast("cpu", dtype=torch.bfloat16):
            target = target_latents(codec, batch, draw=False)
            link = with_link_latents(codec, batch)["link_image"][:, 0]
    assert torch.equal(target.float(), exact) == torch.equal(link.float(), exact) == lossless
