"""The sampler of students of segments, against diffusers' DDIM and against closed forms."""

import pytest
import torch
from diffusers import DDIMScheduler

from gen.objectives.schedule import build_scheduler
from gen.schedulers import SegmentScheduler
from gen.schema import DiffusionConfig

NOISY = 0.7  # standard deviation of what the student reaches at each edge


def base(prediction):
    return build_scheduler(
        DiffusionConfig(prediction=prediction, schedule="scaled_linear", zero_terminal_snr=prediction != "epsilon")
    )


def made(segments=4, prediction="v_prediction"):
    return SegmentScheduler.from_config(base(prediction).config, segments=segments)


@pytest.mark.parametrize("prediction", ["v_prediction", "epsilon", "sample"])
@pytest.mark.parametrize("steps", [1, 2, 4])  # of 3, DDIM takes one time for its neighbour
def test_with_no_more_steps_than_segments_it_is_ddim(prediction, steps):
    ours = made(4, prediction)
    theirs = DDIMScheduler.from_config(base(prediction).config, set_alpha_to_one=True, clip_sample=False)
    z, output = torch.randn(2, 3, 2, 4, 4, generator=torch.Generator().manual_seed(0))
    for sampler in (ours, theirs):
        sampler.set_timesteps(steps)
    assert torch.equal(ours.timesteps, theirs.timesteps)
    for t in ours.timesteps:
        got, want = (sampler.step(output, t, z) for sampler in (ours, theirs))
        torch.testing.assert_close(got.prev_sample, want.prev_sample, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(got.pred_original_sample, want.pred_original_sample, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("steps", [8, 20])
def test_a_step_within_a_segment_has_the_spread_of_its_time(steps):
    """An edge reached with NOISY as the clean latent's spread, noised again, has that of the later time."""
    sampler = made()
    sampler.set_timesteps(steps)
    t, later = (int(time) for time in sampler.timesteps[:2])
    generator = torch.Generator().manual_seed(0)
    clean, noise, _ = torch.randn(3, 1, 4, 128, 128, generator=generator)
    clean = NOISY * clean
    (alpha, sigma), (alpha_later, sigma_later) = sampler._amplitudes(t), sampler._amplitudes(later)
    z, output = alpha * clean + sigma * noise, alpha * noise - sigma * clean
    moved = sampler.step(output, t, z, generator, return_dict=False)[0]
    expected = ((alpha_later * NOISY) ** 2 + sigma_later**2).sqrt()
    assert float(moved.std()) == pytest.approx(float(expected), rel=0.01)
    along = (moved * clean).mean() / clean.square().mean()
    assert float(along) == pytest.approx(float(alpha_later), abs=0.02)


def test_noise_anew_is_each_images_own():
    sampler, z = made(), torch.zeros(2, 1, 4, 4)
    sampler.set_timesteps(8)
    generators = [torch.Generator().manual_seed(seed) for seed in (1, 2)]
    both = sampler.step(z, 999, z, generators, return_dict=False)[0]
    alone = sampler.step(z[:1], 999, z[:1], [torch.Generator().manual_seed(2)], return_dict=False)[0]
    assert torch.equal(both[1:], alone) and not torch.equal(both[0], both[1])


def test_it_comes_back_from_its_folder(tmp_path):
    made(2).save_pretrained(tmp_path)
    again = SegmentScheduler.from_pretrained(tmp_path)
    assert again.config.segments == 2 and again.config.prediction_type == "v_prediction"
    assert torch.equal(again.alphas_cumprod, made().alphas_cumprod)


def test_segments_that_divide_nothing_are_refused():
    with pytest.raises(ValueError, match="segments=3: must divide num_train_timesteps=1000"):
        made(3)


@pytest.mark.parametrize(
    ("segments", "steps", "expected"),
    [(1000, 4, [749, 499, 249, -1]), (1, 4, [-1] * 4), (2, 4, [499, 499, -1, -1]), (4, 2, [499, -1])],
)
def test_a_student_is_told_where_it_arrives(segments, steps, expected):
    sampler = made(segments)
    sampler.set_timesteps(steps)
    assert sampler.ends() == expected


@pytest.mark.parametrize(
    ("steps", "times"),
    [(1, [999]), (2, [999, 499]), (3, [999, 749, 374]), (8, [999, 874, 749, 624, 499, 374, 249, 124])],
)
def test_steps_lie_on_the_times_that_were_taught(steps, times):
    sampler = SegmentScheduler.from_config(base("v_prediction").config, segments=1000, grid=8)
    sampler.set_timesteps(steps)
    assert sampler.timesteps.tolist() == times and sampler.ends() == [*times[1:], -1]


def test_more_steps_than_were_taught_are_refused():
    sampler = SegmentScheduler.from_config(base("v_prediction").config, segments=1000, grid=8)
    with pytest.raises(ValueError, match="at most 8, the times at which this student was taught"):
        sampler.set_timesteps(10)
    with pytest.raises(ValueError, match="grid=7: must divide"):
        SegmentScheduler.from_config(base("v_prediction").config, grid=7)
