"""Least-squares synthesis: finds the kernel that made an image, and beats the patchwise inverse."""

import pytest
import torch
from torch.nn import functional as F

from gen.models import linear_code
from gen.models.codec import LatentCodec


@pytest.mark.parametrize(("channels", "step"), [(3, 4), (5, 8)])
def test_the_kernel_that_made_the_images_is_found(monkeypatch, channels, step):
    monkeypatch.setattr(linear_code, "RIDGE", 0.0)
    generator = torch.Generator().manual_seed(0)
    kernel = torch.randn(channels, 1, 2 * step, 2 * step, generator=generator)
    latents = torch.randn(60, channels, 5, 4, generator=generator)
    images = F.conv_transpose2d(latents, kernel, stride=step, padding=step // 2)
    torch.testing.assert_close(linear_code.lapped_synthesis(latents, images, step), kernel, atol=1e-5, rtol=0)


@torch.no_grad()
def test_smooth_images_come_back_better_than_patch_by_patch():
    noise = torch.randn(24, 1, 70, 70, generator=torch.Generator().manual_seed(1))
    images = F.avg_pool2d(noise, 7, 1)[..., :64, :64].mul(3).clamp(-1, 1)
    codec = LatentCodec("dc", 6, (8, 8, 16), (0, 1, 1), linear_skip=True)  # 6 numbers for 16 pixels
    codec.fit_linear_skip(images)
    z = codec.analysis(images)
    basis = codec.analysis.weight.flatten(1)  # equal norms
    patchwise = F.conv_transpose2d(z, codec.analysis.weight / basis.square().sum(1)[:, None, None, None], stride=4)
    patchwise = patchwise + codec.synthesis.bias
    lapped_error, patch_error = ((output - images).square().mean() for output in (codec.synthesis(z), patchwise))
    assert lapped_error < 0.95 * patch_error
    torch.testing.assert_close(codec.reconstruct(images), codec.synthesis(z))  # the trunk says nothing yet
