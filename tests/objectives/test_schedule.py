"""The schedule's algebra against closed forms and against diffusers' own schedulers, in float64."""

import math

import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler

from gen.objectives import schedule
from gen.schema import DiffusionConfig

PREDICTIONS = ("epsilon", "v_prediction", "sample")
every_prediction = pytest.mark.parametrize("prediction", PREDICTIONS)
TIMES = torch.tensor([0, 1, 250, 500, 998])


def config(prediction="v_prediction", **changes):
    return DiffusionConfig(prediction=prediction, schedule="scaled_linear", **changes)


@pytest.fixture
def pair():
    generator = torch.Generator().manual_seed(3)
    z0, noise = torch.randn(2, len(TIMES), 4, 3, 3, generator=generator, dtype=torch.float64)
    return z0, noise


def amplitudes(changes=None):
    cumulative = schedule.build_scheduler(config(**(changes or {}))).alphas_cumprod.double()
    return schedule.alpha_sigma(cumulative, TIMES)


def test_betas_follow_the_named_schedules():
    betas = schedule.build_scheduler(config(beta_start=0.001, beta_end=0.02, steps=100)).betas.double()
    expected = torch.linspace(math.sqrt(0.001), math.sqrt(0.02), 100, dtype=torch.float64).square()
    torch.testing.assert_close(betas, expected, rtol=1e-6, atol=0)
    linear = schedule.build_scheduler(DiffusionConfig(prediction="sample", schedule="linear", steps=7)).betas.double()
    torch.testing.assert_close(linear, torch.linspace(0.00085, 0.012, 7, dtype=torch.float64), rtol=1e-6, atol=0)


def test_cosine_schedule_has_its_closed_form():
    scheduler = schedule.build_scheduler(DiffusionConfig(prediction="sample", schedule="squaredcos_cap_v2", steps=50))

    def bar(time):
        return math.cos((time + 0.008) / 1.008 * math.pi / 2) ** 2

    ratios = [min(1 - bar((i + 1) / 50) / bar(i / 50), 0.999) for i in range(50)]
    expected = torch.cumprod(1 - torch.tensor(ratios, dtype=torch.float64), 0)
    torch.testing.assert_close(scheduler.alphas_cumprod.double(), expected, rtol=1e-4, atol=1e-12)


def test_alpha_and_sigma_are_on_the_unit_circle():
    alpha, sigma = amplitudes()
    assert alpha.shape == sigma.shape == (len(TIMES), 1, 1, 1)
    torch.testing.assert_close(alpha**2 + sigma**2, torch.ones_like(alpha), rtol=1e-14, atol=0)
    assert (alpha.flatten().diff() < 0).all()


def test_alpha_is_the_product_of_one_minus_beta():
    scheduler = schedule.build_scheduler(config())
    alpha, _ = schedule.alpha_sigma(scheduler.alphas_cumprod, TIMES)
    expected = [torch.prod(1 - scheduler.betas[: t + 1].double()).sqrt().item() for t in TIMES.tolist()]
    torch.testing.assert_close(alpha.flatten().double(), torch.tensor(expected).double(), rtol=1e-5, atol=0)


def test_forward_process_is_that_of_diffusers(pair):
    z0, noise = pair
    theirs = schedule.build_scheduler(config()).add_noise(z0, noise, TIMES)
    torch.testing.assert_close(schedule.add_noise(z0, noise, *amplitudes()), theirs, rtol=1e-4, atol=1e-6)


def test_forward_process_keeps_the_variance():
    z0, noise = torch.randn(2, 2000, 1, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    z = schedule.add_noise(z0, noise, torch.tensor(0.6).double(), torch.tensor(0.8).double())
    assert z.var().item() == pytest.approx(1, abs=0.02)


def test_velocity_is_that_of_diffusers(pair):
    z0, noise = pair
    theirs = schedule.build_scheduler(config()).get_velocity(z0, noise, TIMES)
    ours = schedule.target("v_prediction", z0, noise, *amplitudes())
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)


def test_targets_are_what_their_names_say(pair):
    z0, noise = pair
    alpha, sigma = amplitudes()
    assert schedule.target("epsilon", z0, noise, alpha, sigma) is noise
    assert schedule.target("sample", z0, noise, alpha, sigma) is z0
    velocity = schedule.target("v_prediction", z0, noise, alpha, sigma)
    # v is the derivative of z by the angle whose tangent is sigma / alpha
    angle = torch.atan2(sigma, alpha)
    step = 1e-6
    later = schedule.add_noise(z0, noise, (angle + step).cos(), (angle + step).sin())
    earlier = schedule.add_noise(z0, noise, (angle - step).cos(), (angle - step).sin())
    torch.testing.assert_close(velocity, (later - earlier) / (2 * step), rtol=1e-7, atol=1e-8)


@every_prediction
def test_every_parameterisation_gives_back_latent_and_noise(pair, prediction):
    z0, noise = pair
    alpha, sigma = amplitudes()
    z = schedule.add_noise(z0, noise, alpha, sigma)
    output = schedule.target(prediction, z0, noise, alpha, sigma)
    torch.testing.assert_close(schedule.to_z0(prediction, output, z, alpha, sigma), z0, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(schedule.to_noise(prediction, output, z, alpha, sigma), noise, rtol=1e-9, atol=1e-9)


@every_prediction
@pytest.mark.parametrize("other", PREDICTIONS)
def test_parameterisations_translate_into_one_another(pair, prediction, other):
    """Any output, right or wrong, means the same latent and noise in every parameterisation."""
    output, z = pair
    alpha, sigma = amplitudes()
    z0 = schedule.to_z0(prediction, output, z, alpha, sigma)
    noise = schedule.to_noise(prediction, output, z, alpha, sigma)
    torch.testing.assert_close(schedule.add_noise(z0, noise, alpha, sigma), z, rtol=1e-9, atol=1e-9)
    translated = schedule.target(other, z0, noise, alpha, sigma)
    torch.testing.assert_close(schedule.to_z0(other, translated, z, alpha, sigma), z0, rtol=1e-7, atol=1e-7)


@every_prediction
def test_clean_latent_is_that_of_the_ddim_sampler(pair, prediction):
    output, z = pair
    sampler = DDIMScheduler.from_config(schedule.build_scheduler(config(prediction)).config)
    sampler.set_timesteps(10)
    assert sampler.config.prediction_type == prediction and not sampler.config.clip_sample
    alphas = sampler.alphas_cumprod
    for t in (99, 599, 999):
        alpha, sigma = schedule.alpha_sigma(alphas, torch.tensor([t]))
        theirs = sampler.step(output, t, z).pred_original_sample
        torch.testing.assert_close(
            schedule.to_z0(prediction, output, z, alpha.double(), sigma.double()), theirs, rtol=1e-4, atol=1e-5
        )


@pytest.mark.parametrize("name", ["linear", "scaled_linear", "squaredcos_cap_v2"])
def test_zero_terminal_snr_ends_in_pure_noise_and_begins_as_before(name):
    plain = schedule.build_scheduler(DiffusionConfig(prediction="sample", schedule=name))
    rescaled = schedule.build_scheduler(DiffusionConfig(prediction="sample", schedule=name, zero_terminal_snr=True))
    alpha, sigma = schedule.alpha_sigma(rescaled.alphas_cumprod, torch.tensor([999]))
    assert alpha.item() == 0 and sigma.item() == 1
    # arXiv 2305.08891, algorithm 1: shift sqrt(alpha_bar) so that the last is 0, scale so that the first stays
    root = plain.alphas_cumprod.double().sqrt()
    expected = (root - root[-1]) * root[0] / (root[0] - root[-1])
    torch.testing.assert_close(rescaled.alphas_cumprod.double().sqrt(), expected, rtol=1e-3, atol=1e-4)


def test_sampling_starts_at_the_last_training_step():
    scheduler = schedule.build_scheduler(config(zero_terminal_snr=True))
    assert isinstance(scheduler, DDPMScheduler)
    for steps in (1, 4, 25):
        scheduler.set_timesteps(steps)
        assert scheduler.timesteps[0] == 999 and len(scheduler.timesteps) == steps


@every_prediction
@pytest.mark.parametrize("gamma", [0.5, 5.0])
def test_min_snr_weights_agree_in_latent_space(pair, prediction, gamma):
    """The weighted error of an output equals min(snr, gamma) times the error of the latent that it implies."""
    z0, noise = pair
    wrong = 0.3 * noise.roll(1, 0) + 0.1
    alpha, sigma = amplitudes()
    z = schedule.add_noise(z0, noise, alpha, sigma)
    output = schedule.target(prediction, z0, noise, alpha, sigma) + wrong
    error = wrong.square().mean(dim=(1, 2, 3)) * schedule.min_snr_weight(prediction, alpha, sigma, gamma)
    implied = schedule.to_z0(prediction, output, z, alpha, sigma) - z0
    snr = (alpha / sigma).square().flatten()
    expected = snr.clamp(max=gamma) * implied.square().mean(dim=(1, 2, 3))
    torch.testing.assert_close(error, expected, rtol=1e-8, atol=0)


def test_min_snr_weights_stay_finite_without_signal():
    alpha, sigma = torch.zeros(1, 1, 1, 1), torch.ones(1, 1, 1, 1)
    weights = {name: schedule.min_snr_weight(name, alpha, sigma, 5.0).item() for name in PREDICTIONS}
    assert weights == {"epsilon": 1.0, "v_prediction": 0.0, "sample": 0.0}
