"""The codec's loss terms against closed forms."""

import math

import pytest
import torch

from gen.objectives.reconstruction import ReconstructionLoss, gradient_difference, kl_divergence, psnr
from gen.schema import CodecLossConfig

NOTHING = {"l1": 0.0, "gradient": 0.0, "ssim": 0.0, "kl": 0.0, "codebook": 0.0}


def test_kl_of_a_gaussian():
    mean, deviation = 0.3, 2.0
    moments = torch.cat([torch.full((2, 3, 4, 4), mean), torch.full((2, 3, 4, 4), 2 * math.log(deviation))], dim=1)
    theirs = torch.distributions.kl_divergence(
        torch.distributions.Normal(mean, deviation), torch.distributions.Normal(0, 1)
    )
    assert kl_divergence(moments).item() == pytest.approx(theirs.item(), rel=1e-6)
    assert kl_divergence(torch.zeros(1, 2, 1, 1)).item() == 0


def test_psnr_of_a_known_error():
    image = torch.zeros(2, 1, 8, 8)
    output = image.clone()
    output[1] += 10 / 127.5  # ten grey levels of 255
    values = psnr(output, image)
    assert values[0] == math.inf
    assert values[1].item() == pytest.approx(20 * math.log10(255 / 10), abs=1e-3)


def test_gradients_ignore_brightness_and_see_edges():
    image = torch.rand(1, 1, 6, 6)
    assert gradient_difference(image + 0.5, image).item() == pytest.approx(0, abs=1e-6)
    edge = torch.zeros(1, 1, 6, 6)
    edge[..., 3:] = 1.0  # one step in each of six rows of five differences
    assert gradient_difference(edge, torch.zeros_like(edge)).item() == pytest.approx(6 / 30)


def test_terms_carry_their_weights_and_a_perfect_output_costs_nothing():
    image = torch.rand(2, 1, 32, 32) * 2 - 1
    loss = ReconstructionLoss(CodecLossConfig(l1=2.0, gradient=0.5, ssim=0.1, kl=3.0))
    moments = torch.ones(2, 4, 4, 4)
    perfect = loss(image, image, moments, None)
    assert {name: round(value.item(), 5) for name, value in perfect.items() if name != "kl"} == {
        "l1": 0,
        "gradient": 0,
        "ssim": 0,
    }
    assert perfect["kl"].item() == pytest.approx(3 * kl_divergence(moments).item())
    assert loss(image + 0.1, image, None, None)["l1"].item() == pytest.approx(0.2, rel=1e-4)
    assert loss(image, image, None, torch.tensor(7.0))["codebook"].item() == 7


def test_adversarial_terms_move_only_their_own_player():
    torch.manual_seed(0)
    loss = ReconstructionLoss(CodecLossConfig(**NOTHING, adversarial=1.0))
    image, output = torch.rand(2, 1, 64, 64), torch.rand(2, 1, 64, 64, requires_grad=True)
    terms = loss(output, image, None, None)
    terms["adversarial"].backward(retain_graph=True)
    assert output.grad.abs().sum() > 0
    assert all(p.grad is None for p in loss.discriminator.parameters())
    output.grad = None
    terms["discriminator"].backward()
    assert output.grad is None
    assert all(p.grad is not None for p in loss.discriminator.parameters())
