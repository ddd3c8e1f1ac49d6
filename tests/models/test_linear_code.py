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


@torch.no_grad()
def test_unfolding_finds_a_finer_code_that_is_hidden_in_a_coarse_one():
    """All sixteen components of 4 x 4 pixels span what four of each 2 x 2 do: the map must bring those back."""
    generator = torch.Generator().manual_seed(2)
    noise = torch.randn(24, 1, 38, 38, generator=generator)
    images = F.avg_pool2d(noise, 7, 1)
    coarse = F.conv2d(images, linear_code.principal_components(images, 4, 16).view(16, 1, 4, 4), stride=4)
    fine = F.conv2d(images, linear_code.principal_components(images, 2, 4).view(4, 1, 2, 2), stride=2)
    shift, scale = linear_code.whitening(coarse, 0.0)
    whitened = ((coarse.double() - shift[:, None, None]) / scale[:, None, None]).float()
    turned = linear_code.unfolding(whitened, images, 2, 0.0)
    shown = F.pixel_shuffle(torch.einsum("oc,nchw->nohw", turned, whitened), 2)
    shift, scale = linear_code.whitening(fine, 0.0)
    torch.testing.assert_close(
        shown, ((fine - shift[:, None, None]) / scale[:, None, None]).float(), atol=0.05, rtol=0
    )  # the mean grey of patches lets them differ a little


def test_whitening_of_power_half_keeps_the_order_of_channels():
    means = (
        torch.randn(8, 3, 16, 16, generator=torch.Generator().manual_seed(3))
        * torch.tensor([4.0, 1.0, 0.25])[:, None, None]
    )
    _, scale = linear_code.whitening(means, 0.5)
    spread = means.std(dim=(0, 2, 3)) / scale
    torch.testing.assert_close(spread[:-1] / spread[1:], torch.full((2,), 2.0), atol=0.1, rtol=0, check_dtype=False)
    assert (spread.square().mean() - 1).abs() < 1e-3
