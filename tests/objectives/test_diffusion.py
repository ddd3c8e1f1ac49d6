"""The diffusion loss with denoisers whose answers are known."""

import pytest
import torch
from torch import nn

from gen.objectives import schedule
from gen.objectives.diffusion import DiffusionObjective
from gen.schema import DiffusionConfig

PREDICTIONS = ("epsilon", "v_prediction", "sample")
every_prediction = pytest.mark.parametrize("prediction", PREDICTIONS)


def objective(prediction, **changes):
    return DiffusionObjective(DiffusionConfig(prediction=prediction, schedule="scaled_linear", **changes))


def latents(count=6, seed=0):
    return torch.randn(count, 4, 5, 5, generator=torch.Generator().manual_seed(seed))


class Knowing(nn.Module):
    """The denoiser that knows the clean latents, plus a wanted error in them."""

    def __init__(self, loss, z0, error=0.0):
        super().__init__()
        self.loss, self.z0, self.error = loss, z0, error

    def forward(self, z, t, condition):
        alpha, sigma = schedule.alpha_sigma(self.loss.scheduler.alphas_cumprod, t)
        z0 = self.z0 + self.error
        return schedule.target(self.loss.config.prediction, z0, (z - alpha * z0) / sigma, alpha, sigma)


class Linear(nn.Module):
    """Output weight * z, remembering what it saw."""

    def __init__(self, weight):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(weight))

    def forward(self, z, t, condition):
        self.seen = (z.detach(), t, condition)
        return self.weight * z


@every_prediction
def test_perfect_denoiser_has_no_loss(prediction):
    loss, z0 = objective(prediction), latents()
    value = loss(Knowing(loss, z0), z0, None, torch.Generator().manual_seed(1))["diffusion"]
    assert value.item() < 1e-6
    wrong = loss(Knowing(loss, z0, 0.5), z0, None, torch.Generator().manual_seed(1))["diffusion"]
    assert wrong.item() > 1e-3


@every_prediction
def test_min_snr_weighs_the_error_of_the_latent(prediction):
    """A constant error c in z0 costs the mean of min(snr, gamma) c^2, whatever is predicted."""
    loss, z0 = objective(prediction, min_snr_gamma=5.0), latents(64)
    value = loss(Knowing(loss, z0, 0.1), z0, None, torch.Generator().manual_seed(2))["diffusion"]
    t = torch.randint(1000, (64,), generator=torch.Generator().manual_seed(2))
    cumulative = loss.scheduler.alphas_cumprod[t].double()
    expected = (cumulative / (1 - cumulative)).clamp(max=5).mean() * 0.01
    assert value.item() == pytest.approx(expected.item(), rel=2e-3)


@every_prediction
def test_gradient_of_a_linear_denoiser(prediction):
    """d/dw mean (w z - y)^2 = 2 mean (w z - y) z, by hand in float64."""
    loss, z0 = objective(prediction), latents()
    denoiser = Linear(0.7)
    value = loss(denoiser, z0, "condition", torch.Generator().manual_seed(3))["diffusion"]
    value.backward()
    z, t, condition = denoiser.seen
    assert condition == "condition" and t.shape == (6,) and 0 <= t.min() and t.max() < 1000
    z, z0 = z.double(), z0.double()
    alpha, sigma = schedule.alpha_sigma(loss.scheduler.alphas_cumprod.double(), t)
    noise = (z - alpha * z0) / sigma
    target = {"epsilon": noise, "sample": z0, "v_prediction": alpha * noise - sigma * z0}[prediction]
    assert value.item() == pytest.approx((0.7 * z - target).square().mean().item(), rel=1e-4)
    assert denoiser.weight.grad.item() == pytest.approx((2 * (0.7 * z - target) * z).mean().item(), rel=1e-3)


def test_large_errors_count_linearly_small_ones_squared():
    """Constant errors have a closed form, and a place's loss is of all its channels together."""
    z0, value = latents(), {}
    for error in (0.001, 1.0):
        loss = objective("sample", huber=0.05)
        value[error] = loss(Knowing(loss, z0, error), z0, None, torch.Generator().manual_seed(1))["diffusion"].item()
        assert value[error] == pytest.approx(0.1 * ((error**2 + 0.0025) ** 0.5 - 0.05), rel=1e-3)
    assert value[0.001] == pytest.approx(1e-6, rel=1e-3) and value[1.0] == pytest.approx(0.1, rel=0.06)
    one_channel = torch.zeros(4).index_fill(0, torch.tensor(2), 2.0)[None, :, None, None]
    alone = loss(Knowing(loss, z0, one_channel), z0, None, torch.Generator().manual_seed(1))["diffusion"].item()
    assert alone == pytest.approx(value[1.0], rel=1e-4)


def test_noise_is_unit_and_fresh_for_every_sample():
    loss, z0, denoiser = objective("epsilon"), torch.zeros(400, 4, 5, 5), Linear(0.0)
    value = loss(denoiser, z0, None, torch.Generator().manual_seed(4))["diffusion"]
    assert value.item() == pytest.approx(1, abs=0.03)  # the mean square of the noise itself
    z, t, _ = denoiser.seen
    _, sigma = schedule.alpha_sigma(loss.scheduler.alphas_cumprod, t)
    noise = (z / sigma).flatten(1)
    assert noise.std().item() == pytest.approx(1, abs=0.02)
    assert torch.corrcoef(noise).fill_diagonal_(0).abs().max() < 0.6
    assert t.unique().numel() > 250 and abs(t.float().mean() - 499.5) < 50


def test_offset_noise_adds_a_constant_a_channel():
    """Variance 1 + s^2 in all, s^2 + 1/n in the means of n pixels."""
    strength, pixels = 0.5, 64
    loss = objective("epsilon", offset_noise=strength)
    noise = loss._noise(torch.zeros(500, 4, 8, 8), torch.Generator().manual_seed(5))
    assert noise.var().item() == pytest.approx(1 + strength**2, rel=0.03)
    assert noise.mean(dim=(2, 3)).var().item() == pytest.approx(strength**2 + 1 / pixels, rel=0.08)
    plain = objective("epsilon")._noise(torch.zeros(500, 4, 8, 8), torch.Generator().manual_seed(5))
    assert plain.mean(dim=(2, 3)).var().item() == pytest.approx(1 / pixels, rel=0.1)


def test_generator_decides_everything():
    loss, z0 = objective("v_prediction", offset_noise=0.1), latents()
    values = [loss(Linear(0.3), z0, None, torch.Generator().manual_seed(s))["diffusion"].item() for s in (1, 1, 2)]
    assert values[0] == values[1] != values[2]


def test_loss_is_computed_in_full_precision():
    loss, z0 = objective("v_prediction"), latents().bfloat16()
    value = loss(lambda z, t, condition: z * 0, z0, None, torch.Generator().manual_seed(6))["diffusion"]
    assert value.dtype == torch.float32


def test_a_share_of_the_samples_is_at_the_last_step():
    z0 = latents(4000)
    for share in (0.0, 0.7, 1.0):
        loss, denoiser = objective("sample", zero_terminal_snr=True, last=share), Linear(0.0)
        loss(denoiser, z0, None, torch.Generator().manual_seed(1))
        last = (denoiser.seen[1] == 999).float().mean().item()
        assert last == pytest.approx(share, abs=0.03)
    assert torch.equal(denoiser.seen[0], loss_noise(z0)), "all noise, no signal"


def loss_noise(z0):
    """What `objective(last=1)` draws after its times, from the same generator."""
    stream = torch.Generator().manual_seed(1)
    torch.randint(1000, (len(z0),), generator=stream)
    torch.rand(len(z0), generator=stream)
    return torch.randn(z0.shape, generator=stream)
