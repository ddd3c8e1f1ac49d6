"""Consistency distillation against closed forms: Gaussian data, whose flow and consistency function are known."""

from itertools import pairwise

import pytest
import torch
from diffusers import LCMScheduler
from pydantic import ValidationError

from gen.errors import UserError
from gen.objectives import schedule
from gen.objectives.consistency import ConsistencyObjective, boundary_scalings
from gen.objectives.flow import ConsistencyConfig, build_sampler, guided, pseudo_huber
from gen.sampler import denoise
from gen.schema import DiffusionConfig

SPREAD = 0.6  # standard deviation of the data


class Nothing:
    """A condition of no tokens, twice as long with its null."""

    def cat_null(self):
        return self


def config(**changes):
    values = {"grid": 8, "solver": "ddim", "guidance": (1.0, 1.0), "guidance_channels": 8, "target_decay": 0.9}
    return ConsistencyConfig(**{**values, **changes})


def scheduler(prediction="v_prediction", zero=True):
    zero = zero and prediction != "epsilon"
    return schedule.build_scheduler(
        DiffusionConfig(prediction=prediction, schedule="scaled_linear", zero_terminal_snr=zero)
    )


def objective(settings=None, teacher=None, target=None, base=None):
    made = ConsistencyObjective(settings or config(), base or scheduler(), teacher, target)
    made.bars = made.bars.double()
    return made


def answering(made, clean):
    """A denoiser whose clean latent is `clean(z, alpha, sigma, t)`, in the parameterisation of the scheduler."""

    def denoiser(z, t, condition, scale=None):
        alpha, sigma = made._amplitudes(t)
        z0 = clean(z, alpha, sigma, t)
        noise = (z - alpha * z0) / sigma
        return schedule.target(made.sampler.config.prediction_type, z0, noise, alpha, sigma)

    return denoiser


def posterior_mean(z, alpha, sigma, t):
    return alpha * SPREAD**2 / (alpha**2 * SPREAD**2 + sigma**2) * z


def end_of_flow(z, alpha, sigma, t):
    """The probability flow keeps z / its standard deviation."""
    return SPREAD / (alpha**2 * SPREAD**2 + sigma**2).sqrt() * z


def latents(rows=6):
    return torch.randn(rows, 2, 3, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_boundary_scalings_are_those_of_the_sampler():
    sampler = LCMScheduler()
    times = torch.tensor([0, 1, 19, 999])
    skip, out = boundary_scalings(times, sampler.config.timestep_scaling)
    for number, t in enumerate(times.tolist()):
        theirs = sampler.get_scalings_for_boundary_condition_discrete(t)
        assert (float(skip[number]), float(out[number])) == pytest.approx(theirs, rel=1e-6)
    assert skip[0] == 1 and out[0] == 0


def test_pseudo_huber_is_quadratic_within_its_width_and_linear_beyond():
    small, large = torch.full((3,), 1e-6, dtype=torch.float64), torch.full((3,), -5.0)
    assert float(pseudo_huber(small, 0.01)) == pytest.approx(1e-12 / (2 * 0.01), rel=1e-4)
    assert float(pseudo_huber(large, 0.001)) == pytest.approx(4.999, rel=1e-4)


@pytest.mark.parametrize("grid", [1, 4, 8, 50])
def test_the_student_learns_at_the_times_at_which_it_is_asked(grid):
    made = objective(config(grid=grid))
    made.sampler.set_timesteps(grid)
    t, edge = made._times(torch.arange(grid))
    assert t.flip(0).tolist() == made.sampler.timesteps.tolist()
    assert edge.tolist() == [-1] * grid
    t, edge = objective(config(grid=4, segments=2))._times(torch.arange(4))
    assert (t.tolist(), edge.tolist()) == ([249, 499, 749, 999], [-1, -1, 499, 499])


def test_one_teacher_step_is_ddim_in_closed_form():
    """Unit Gaussian data: the step from angle a to b turns z into cos(a - b) z (sigma = sin, alpha = cos)."""
    made = objective()
    made.teacher = answering(made, lambda z, alpha, sigma, t: alpha * z)
    t = torch.tensor([124, 249, 499, 749, 874, 999])
    angles = [torch.atan2(*reversed(made._amplitudes(time))) for time in (t, t - made.hop)]
    z = latents()
    moved = made._teacher_hop(z, t, Nothing(), torch.ones(6))
    torch.testing.assert_close(moved, torch.cos(angles[0] - angles[1]) * z, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("prediction", ["v_prediction", "epsilon", "sample"])
def test_many_teacher_steps_are_the_exact_flow(prediction):
    made = objective(config(teacher_steps=125), base=scheduler(prediction))
    made.teacher = answering(made, posterior_mean)
    t, z = torch.tensor([124, 249, 499, 749, 874, 998]), latents()
    moved = made._teacher_hop(z, t, Nothing(), torch.ones(6))
    deviation = [(a**2 * SPREAD**2 + s**2).sqrt() for a, s in (made._amplitudes(time) for time in (t, t - 125))]
    torch.testing.assert_close(moved, deviation[1] / deviation[0] * z, atol=0.01, rtol=0.01)
    once = objective(config(), base=scheduler(prediction))
    once.teacher = answering(once, posterior_mean)
    exact = deviation[1] / deviation[0] * z
    worse = once._teacher_hop(z, t, Nothing(), torch.ones(6))
    assert (worse - exact).abs().max() > 3 * (moved - exact).abs().max()


def test_the_midpoint_is_of_second_order():
    """At the same number of calls it is nearer to the flow than DDIM, and halving its steps quarters what is left."""
    t, z = torch.tensor([249, 374, 499, 624, 749, 874]), latents()
    errors = {}
    for solver, steps in (("ddim", 2), ("midpoint", 1), ("midpoint", 2), ("midpoint", 4)):
        made = objective(config(solver=solver, teacher_steps=steps))
        made.teacher = answering(made, posterior_mean)
        deviation = [(a**2 * SPREAD**2 + s**2).sqrt() for a, s in (made._amplitudes(time) for time in (t, t - 125))]
        moved = made._teacher_hop(z, t, Nothing(), torch.ones(6))
        errors[solver, steps] = float((moved / z - deviation[1] / deviation[0]).abs().mean())
    assert errors["midpoint", 1] < 0.5 * errors["ddim", 2]
    assert errors["midpoint", 2] < 0.35 * errors["midpoint", 1]
    assert errors["midpoint", 4] < 0.35 * errors["midpoint", 2]


@pytest.mark.parametrize("segments", [1, 2, 8])
def test_the_exact_consistency_function_has_no_loss_and_another_has(segments):
    made = objective(config(teacher_steps=125, segments=segments))

    def towards_the_edge(z, alpha, sigma, t):
        """The clean latent from which a jump to the segment's edge ends on the flow."""
        edge = made._times((t + 1) // made.hop - 1)[1]
        alpha_edge, sigma_edge = made._amplitudes(edge)
        deviation = [(a**2 * SPREAD**2 + s**2).sqrt() for a, s in ((alpha, sigma), (alpha_edge, sigma_edge))]
        ended, ratio = deviation[1] / deviation[0] * z, sigma_edge / sigma
        return (ended - ratio * z) / (alpha_edge - ratio * alpha)

    made.teacher = answering(made, posterior_mean)
    student = made.target = answering(made, towards_the_edge)
    z0 = latents(64) * SPREAD
    exact = made(student, z0, Nothing(), torch.Generator().manual_seed(1))["consistency"]
    untrained = made(made.teacher, z0, Nothing(), torch.Generator().manual_seed(1))["consistency"]
    assert exact < 0.01 and untrained > 3 * exact


def test_the_last_hop_arrives_at_the_data_whatever_the_target_says():
    made = objective()
    made.teacher = answering(made, posterior_mean)
    made.target = lambda z, t, condition, scale: torch.full_like(z, 1e6)
    t, z = torch.tensor([124]), latents(1)
    goal = made._goal(z, t, torch.tensor([-1]), Nothing(), torch.ones(1))
    alpha, sigma = made._amplitudes(t)
    torch.testing.assert_close(goal, posterior_mean(z, alpha, sigma, t).double(), atol=1e-6, rtol=1e-6)


def test_the_student_answers_what_the_sampler_makes_of_its_output():
    made = objective()
    output, z = latents(1).float(), latents(1).float() + 1
    made.sampler.set_timesteps(8)
    for t in made.sampler.timesteps.tolist():
        made.sampler._step_index = None
        theirs = made.sampler.step(output, t, z, torch.Generator(), return_dict=False)[1]
        time = torch.tensor([t])
        ours = made._parts(lambda z, t, condition, scale: output, z, time, time - 125, None, torch.ones(1))[0]
        torch.testing.assert_close(ours.float(), theirs, atol=1e-5, rtol=1e-5)


def test_guidance_is_told_the_student_and_applied_to_the_teacher():
    seen = []

    def teacher(z, t, condition, scale=None):
        seen.append(("teacher", len(z), scale))
        return z

    def student(z, t, condition, scale):
        seen.append(("student", len(z), scale))
        return z

    made = objective(config(guidance=(1.5, 3.0)), teacher, student)
    made(student, latents(5), Nothing())
    assert [(who, rows) for who, rows, _ in seen] == [("teacher", 10), ("student", 5), ("student", 5)]
    assert seen[0][2] is None and torch.equal(seen[1][2], seen[2][2])
    assert ((seen[1][2] >= 1.5) & (seen[1][2] <= 3.0)).all() and seen[1][2].unique().numel() == 5
    seen.clear()
    made = objective(config(guidance=(1.0, 1.0)), teacher, student)
    made(student, latents(5), Nothing())
    assert seen[0][:2] == ("teacher", 5)


def test_guided_is_null_plus_scale_times_the_difference():
    output = torch.cat([torch.zeros(2, 1, 1, 1), torch.ones(2, 1, 1, 1)])
    given = guided(lambda z, t, condition: output, output[:2], torch.zeros(2), Nothing(), torch.tensor([3.0, 0.5]))
    assert given.flatten().tolist() == [3.0, 0.5]


@pytest.mark.parametrize("scale", [1.0, 2.0])
def test_autoguidance_moves_away_from_the_guide(scale):
    """With a null of 1, a condition of 5 and a guide that answers 4: null + scale (given - null) + 1.5 (5 - 4)."""

    def denoiser(z, t, condition):
        answers = {4: [5.0] * 4, 8: [1.0] * 4 + [5.0] * 4}[len(z)]
        return torch.tensor(answers)[:, None, None, None].expand_as(z)

    z, t, scales = torch.zeros(4, 1, 2, 2), torch.zeros(4), torch.full((4,), scale)
    output = guided(denoiser, z, t, Nothing(), scales, lambda z, t, condition: torch.full_like(z, 4.0), 1.5)
    torch.testing.assert_close(output, torch.full_like(z, 1 + 4 * scale + 1.5))


def test_the_guide_is_asked_at_the_teachers_times_and_changes_where_a_hop_arrives():
    made = objective(config(guide_scale=2.0))
    made.teacher, asked = answering(made, posterior_mean), []

    def guide(z, t, condition):
        asked.append(t)
        return made.teacher(z, t, condition) + 0.1

    z, t = torch.randn(4, 1, 2, 2).double(), torch.tensor([999, 749, 499, 249])
    scales = torch.ones(4).double()
    plain = made._teacher_hop(z, t, Nothing(), scales)
    made.guide = guide
    moved = made._teacher_hop(z, t, Nothing(), scales)
    assert torch.equal(asked[0], t) and not torch.allclose(moved, plain)


def test_no_gradient_goes_through_teacher_or_target():
    weight = torch.ones((), requires_grad=True)
    other = torch.ones((), requires_grad=True)
    made = objective(None, lambda z, t, c: other * z, lambda z, t, c, s: other * z)
    made(lambda z, t, c, s: weight * z, latents(4), Nothing())["consistency"].backward()
    assert weight.grad is not None and weight.grad.abs() > 0 and other.grad is None


def test_samplers_follow_the_segments():
    assert type(build_sampler(config(), scheduler())).__name__ == "LCMScheduler"
    made = build_sampler(config(segments=4), scheduler())
    made.set_timesteps(4)
    assert type(made).__name__ == "SegmentScheduler" and made.timesteps.tolist() == [999, 749, 499, 249]


def test_settings_that_cannot_be_are_refused():
    with pytest.raises(ValidationError, match="segments=3: must divide grid=8"):
        config(segments=3)
    with pytest.raises(ValidationError, match="the lower one first"):
        config(guidance=(3.0, 1.0))
    with pytest.raises(UserError, match="grid=7: must divide the teacher's 1000"):
        build_sampler(config(grid=7), scheduler())
    noisy = scheduler("v_prediction")
    noisy.register_to_config(prediction_type="epsilon")
    with pytest.raises(UserError, match="noise prediction at zero terminal SNR"):
        build_sampler(config(), noisy)


class Student:
    """A student that has `learnt` a share of the way from the teacher's posterior mean to the exact answer."""

    embeds_guidance, embeds_end = True, False

    def __init__(self, made, learnt):
        self.made, self.learnt = made, learnt
        self.answer = answering(made, self.clean)

    def clean(self, z, alpha, sigma, t):
        """The exact one is the clean latent from which a jump to the segment's edge ends on the flow."""
        edge = self.made._times((t + 1) // self.made.hop - 1)[1]
        alpha_edge, sigma_edge = self.made._amplitudes(edge)
        deviation = [(a**2 * SPREAD**2 + s**2).sqrt() for a, s in ((alpha, sigma), (alpha_edge, sigma_edge))]
        ended, ratio = deviation[1] / deviation[0] * z, sigma_edge / sigma
        exact = (ended - ratio * z) / (alpha_edge - ratio * alpha)
        return self.learnt * exact + (1 - self.learnt) * posterior_mean(z, alpha, sigma, t)

    def __call__(self, z, t, condition, scales):
        return self.answer(z.double(), t.expand(len(z)), condition, scales)


def errors_by_steps(segments, learnt):
    """How far the spread of what the sampler draws is from the data's, by the number of steps."""
    made = objective(config(segments=segments))
    noise, errors = torch.randn(2, 4, 128, 128, generator=torch.Generator().manual_seed(0)), {}
    for steps in (1, 2, 4, 8):
        drawn = denoise(Student(made, learnt), made.sampler, Nothing(), noise, steps, 1.0, [0, 1])
        errors[steps] = abs(float(drawn.std()) / SPREAD - 1)
    return errors


CHANCE = 0.006  # three standard errors of the spread of so many numbers


@pytest.mark.parametrize("learnt", [1.0, 0.9, 0.5])
@pytest.mark.parametrize("segments", [1, 4, 8])
def test_quality_does_not_fall_as_steps_grow(segments, learnt):
    """Through the sampler itself: with every doubling the drawn spread comes nearer to the data's, or is exact."""
    errors = errors_by_steps(segments, learnt)
    assert all(errors[more] <= errors[fewer] + CHANCE for fewer, more in pairwise((1, 2, 4, 8))), errors
    if learnt == 1:
        assert all(errors[number] < CHANCE for number in errors if number >= segments), errors
    else:
        assert errors[8] < 0.7 * errors[1], errors
