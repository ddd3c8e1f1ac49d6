"""Mean-velocity distillation against closed forms: Gaussian data, whose flow is known from any time to any other."""

import pytest
import torch
from pydantic import ValidationError

from gen.objectives import schedule
from gen.objectives.flow import ConsistencyConfig
from gen.objectives.mean_velocity import MeanVelocityObjective
from gen.sampler import denoise
from gen.schema import DiffusionConfig

MEAN, SPREAD = 0.4, 0.6  # of the data


class Nothing:
    """A condition of no tokens, twice as long with its null."""

    def cat_null(self):
        return self


def config(**changes):
    values = {"objective": "mean_velocity", "grid": 8, "solver": "midpoint", "guidance": (1.0, 1.0)}
    return ConsistencyConfig(**{**values, "guidance_channels": 8, "target_decay": 0.9, **changes})


def objective(settings=None, prediction="v_prediction"):
    zero = prediction != "epsilon"
    base = DiffusionConfig(prediction=prediction, schedule="scaled_linear", zero_terminal_snr=zero)
    made = MeanVelocityObjective(settings or config(), schedule.build_scheduler(base), None, None)
    made.bars = made.bars.double()
    made.teacher = teacher_of(made)
    return made


def deviation(alpha, sigma):
    return (alpha**2 * SPREAD**2 + sigma**2).sqrt()


def velocity(z, alpha, sigma):
    """Mean of alpha noise - sigma z0 given z."""
    clean = MEAN + alpha * SPREAD**2 / deviation(alpha, sigma) ** 2 * (z - alpha * MEAN)
    return alpha * (z - alpha * clean) / sigma - sigma * clean


def arc(made, t, end):
    (alpha, sigma), (alpha_end, sigma_end) = made._amplitudes(t), made._amplitudes(end)
    return alpha * alpha_end + sigma * sigma_end, sigma * alpha_end - alpha * sigma_end


def mean_velocity(made, z, t, end):
    """The flow keeps how many deviations z is from the mean."""
    (alpha, sigma), (alpha_end, sigma_end) = made._amplitudes(t), made._amplitudes(end)
    ratio = deviation(alpha_end, sigma_end) / deviation(alpha, sigma)
    cosine, sine = arc(made, t, end)
    return (cosine * z - alpha_end * MEAN - ratio * (z - alpha * MEAN)) / sine


def told(made, v, z, t):
    """A velocity in the parameterisation of the scheduler."""
    alpha, sigma = made._amplitudes(t)
    clean, noise = alpha * z - sigma * v, sigma * z + alpha * v
    return schedule.target(made.sampler.config.prediction_type, clean, noise, alpha, sigma)


def teacher_of(made):
    return lambda z, t, condition: told(made, velocity(z, *made._amplitudes(t)), z, t)


def exact_of(made):
    return lambda z, t, condition, scale, end: told(made, mean_velocity(made, z, t, end), z, t)


def latents(rows=64):
    noise = torch.randn(rows, 2, 3, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return MEAN + SPREAD * noise


class Student:
    """A student as the sampler calls it."""

    embeds_guidance = embeds_end = True

    def __init__(self, answer):
        self.answer = answer

    def __call__(self, z, t, condition, scales, end):
        return self.answer(z.double(), t.expand(len(z)), condition, scales, end.expand(len(z)))


@pytest.mark.parametrize("prediction", ["v_prediction", "epsilon", "sample"])
def test_the_exact_mean_velocity_has_no_loss_and_the_present_one_has(prediction):
    made = objective(config(teacher_steps=25), prediction)
    made.target = exact_of(made)
    exact, present = (
        float(made(student, latents(), Nothing(), torch.Generator().manual_seed(1))["mean_velocity"])
        for student in (made.target, lambda z, t, condition, scale, end: made.teacher(z, t, condition))
    )
    assert exact < 0.003 and present > 20 * exact


def test_goals_built_upon_goals_are_the_mean_velocity_and_one_step_draws_the_data():
    """The goal at each time of the grid in turn, lower times first, is taken for the student's answer there."""
    made = objective(config(teacher_steps=25))
    lines = {}  # (t, end) -> velocity at z = 0 and at z = 1; it is a line in z

    def answer(z, t, condition, scale, end):
        if (int(t[0]), int(end[0])) not in lines:
            return torch.full_like(z, torch.nan)
        at_0, at_1 = lines[int(t[0]), int(end[0])]
        return at_0 + (at_1 - at_0) * z

    made.target = answer
    points = torch.tensor([0.0, 1.0], dtype=torch.float64).view(2, 1, 1, 1)
    for time in range(124, 1000, 125):
        for lower in range(-1, time, 125):
            t, end = torch.tensor([time] * 2), torch.tensor([lower] * 2)
            lines[time, lower] = made._goal(points, t, end, Nothing(), torch.ones(2)).view(2)
            wanted = mean_velocity(made, points, t, end).view(2)
            torch.testing.assert_close(lines[time, lower], wanted, atol=5e-3, rtol=0)
    noise = torch.randn(2, 4, 64, 64, generator=torch.Generator().manual_seed(0))
    drawn = denoise(Student(answer), made.sampler, Nothing(), noise, 1, 1.0, [0, 1])
    assert float(drawn.mean()) == pytest.approx(MEAN + SPREAD * float(noise.mean()), abs=2e-3)
    assert float(drawn.std()) == pytest.approx(SPREAD * float(noise.std()), rel=5e-3)


@pytest.mark.parametrize("steps", [1, 2, 3, 4, 7, 8])
def test_the_exact_student_draws_the_data_in_any_number_of_steps(steps):
    made = objective()
    noise = torch.randn(2, 4, 16, 16, generator=torch.Generator().manual_seed(0))
    drawn = denoise(Student(exact_of(made)), made.sampler, Nothing(), noise, steps, 1.0, [0, 1])
    torch.testing.assert_close(drawn.float(), MEAN + SPREAD * noise, atol=1e-3, rtol=1e-3)


def test_over_the_next_time_step_it_is_the_teachers_own_velocity():
    made = objective()
    made.target = lambda z, t, condition, scale, end: torch.full_like(z, 1e6)
    t, z = torch.tensor([124, 374, 624, 999]), latents(4)
    goal = made._goal(z, t, t - 1, Nothing(), torch.ones(4))
    torch.testing.assert_close(goal, velocity(z, *made._amplitudes(t)), atol=5e-3, rtol=5e-3)


def test_as_hops_shrink_the_goal_goes_along_the_identity_of_mean_flows():
    """Goal - answer = - hop / sin(d) (cos(d) (u - v) + sin(d) (z + du/dt)) for any answer u, right or wrong."""
    made = objective(config(grid=1000, solver="ddim"))
    angles = torch.atan2(*reversed([part.flatten() for part in made._amplitudes(torch.arange(-1, 1000))]))

    def wrong(z, angle, end):
        return torch.sin(1.3 * z) * torch.cos(angle) + 0.5 * angle - 0.2 * end

    def at(times):
        return angles[times + 1].view(-1, 1, 1, 1)

    made.target = lambda z, t, condition, scale, end: wrong(z, at(t), at(end))
    t, end, z = torch.tensor([300, 500, 700, 900]), torch.tensor([-1, 100, 400, -1]), latents(4)
    v = velocity(z, *made._amplitudes(t))
    u, slope = torch.func.jvp(lambda z, angle: wrong(z, angle, at(end)), (z, at(t)), (v, torch.ones_like(at(t))))
    cosine, sine = arc(made, t, end)
    expected = -(at(t) - at(t - 1)) / sine * (cosine * (u - v) + sine * (z + slope))
    moved = made._goal(z, t, end, Nothing(), torch.ones(4)) - u
    assert float((moved - expected).abs().max()) < 0.02 * float(expected.abs().max())


def test_jumps_end_at_lower_times_of_the_grid_or_at_the_next_time_step():
    made = objective(config(instants=0.25))
    number = torch.arange(8).repeat(500)
    t, end = made._times(number, torch.Generator().manual_seed(0))
    instant = end == t - 1
    assert t.unique().tolist() == [124, 249, 374, 499, 624, 749, 874, 999]
    assert float(instant.float().mean()) == pytest.approx(0.25, abs=0.03)
    assert bool((end < t).all()) and end[~instant].unique().tolist() == [-1, 124, 249, 374, 499, 624, 749, 874]


def test_the_gradient_goes_through_the_student_alone():
    weights = [torch.ones((), requires_grad=True) for _ in range(3)]
    made = objective()
    made.teacher = lambda z, t, condition: weights[0] * z
    made.target = lambda z, t, condition, scale, end: weights[1] * z
    made(lambda z, t, c, s, e: weights[2] * z.flip(0), latents(8), Nothing())["mean_velocity"].backward()
    assert weights[0].grad is None and weights[1].grad is None and weights[2].grad.abs() > 0


def test_segments_are_refused():
    with pytest.raises(ValidationError, match="segments=4: a mean velocity reaches any time"):
        config(segments=4)
