"""The denoising loop: distilled students are called once a step, with their guidance; callbacks and refusals."""

import copy
from dataclasses import replace

import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    LCMScheduler,
    UniPCMultistepScheduler,
)

from gen import seeds
from gen.errors import UserError
from gen.models.condition import Condition, FirstAnswer
from gen.models.denoiser import build_denoiser
from gen.objectives.schedule import build_scheduler
from gen.sampler import denoise
from gen.schedulers import SegmentScheduler
from gen.schema import DiffusionConfig, UNetConfig

SHAPE = (4, 8, 8)
SCHEDULE = DiffusionConfig(prediction="v_prediction", schedule="scaled_linear", zero_terminal_snr=True)


@pytest.fixture(scope="module")
def student():
    torch.manual_seed(0)
    unet = UNetConfig(
        block_out_channels=(64, 64), layers_per_block=1, attention_levels=(False, True), head_channels=16,
        guidance_channels=16,
    )  # fmt: skip
    denoiser = build_denoiser(unet, 4, 8, 16).eval()
    torch.nn.init.normal_(denoiser.backbone.conv_out.weight, std=0.1)
    torch.nn.init.normal_(denoiser.backbone.time_embedding.cond_proj.weight, std=1.0)
    return denoiser


def condition(rows):
    torch.manual_seed(1)
    tokens, mask = torch.randn(rows, 5, 16), torch.ones(rows, 5, dtype=torch.bool)
    return Condition(tokens=tokens, mask=mask, null_tokens=torch.zeros_like(tokens), null_mask=mask)


@torch.no_grad()
def draw(denoiser, steps=4, guidance=2.0, rows=1, **options):
    scheduler = LCMScheduler.from_config(build_scheduler(SCHEDULE).config)
    z = seeds.image_noise(list(range(rows)), SHAPE)
    return denoise(denoiser, scheduler, condition(rows), z, steps, guidance, list(range(rows)), **options)


@pytest.mark.parametrize("steps", [1, 2, 4, 8])
def test_a_student_is_called_once_a_step_on_one_row_an_image(student, steps):
    rows = []
    handle = student.backbone.register_forward_hook(lambda module, inputs, output: rows.append(len(inputs[0])))
    drawn = draw(student, steps, rows=3)
    handle.remove()
    assert rows == [3] * steps
    assert drawn.shape == (3, *SHAPE) and torch.isfinite(drawn).all()
    torch.testing.assert_close(draw(student, steps)[0], drawn[0], atol=1e-5, rtol=1e-4)


def test_a_student_is_told_its_guidance(student):
    plain, strong = draw(student, guidance=1.0), draw(student, guidance=3.0)
    assert (plain - strong).abs().max() > 1e-4


def test_one_step_is_the_denoiser_at_pure_noise(student):
    """v-prediction at zero signal: z_0 = -v (c_skip of t = 999 is 2.5e-9, c_out is 1)."""
    time, scale = torch.tensor([999]), torch.tensor([2.0])
    with torch.no_grad():
        v = student(seeds.image_noise([0], SHAPE), time, condition(1), scale)
    torch.testing.assert_close(draw(student, steps=1), -v, atol=1e-5, rtol=1e-4)


def test_a_callback_sees_every_step_and_may_change_the_latents(student):
    seen = []

    def callback(number, t, z):
        seen.append((number, int(t)))
        return z * 0 if number == 3 else z

    assert draw(student, callback=callback).abs().max() == 0
    assert seen == [(0, 999), (1, 759), (2, 499), (3, 259)]


def test_more_steps_than_the_scheduler_has_are_refused(student):
    with pytest.raises(UserError, match="steps=51: LCMScheduler refuses"):
        draw(student, steps=51)


def test_a_half_precision_denoiser_is_stepped_in_single_precision(student):
    """bfloat16 keeps 8 bits: latents carried in it from step to step would lose more than the network's rounding."""
    seen = []
    half = copy.deepcopy(student).to(torch.bfloat16)
    half.backbone.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0].dtype))
    told, scheduler = condition(1), LCMScheduler.from_config(build_scheduler(SCHEDULE).config)
    told = replace(told, tokens=told.tokens.bfloat16(), null_tokens=told.null_tokens.bfloat16())
    z = seeds.image_noise([0], SHAPE).bfloat16()
    with torch.no_grad():
        drawn = denoise(half, scheduler, told, z, 4, 2.0, [0])
    assert seen == [torch.bfloat16] * 4 and drawn.dtype == torch.float32
    assert (drawn - draw(student)).abs().mean() < 0.05


@pytest.mark.parametrize(("steps", "calls"), [(1, 1), (2, 2), (4, 3), (8, 6)])
def test_a_first_answer_stands_for_the_noisiest_quarter_and_costs_no_call(student, steps, calls):
    torch.manual_seed(3)
    known, scheduler = torch.tensor([True, True]), build_scheduler(SCHEDULE)
    answer = FirstAnswer(torch.randn(2, *SHAPE), torch.zeros(2, *SHAPE), known)
    scheduler = DDIMScheduler.from_config(scheduler.config, set_alpha_to_one=True, timestep_spacing="trailing")
    z, rows, seen = seeds.image_noise([0, 1], SHAPE), [], []
    handle = student.backbone.register_forward_hook(lambda module, inputs, output: rows.append(inputs[0]))

    def callback(number, t, z):
        seen.append(z)
        return z

    fixed = student, scheduler, condition(2), z, steps, 2.0, [0, 1], callback
    plain, begun = denoise(*fixed), denoise(*fixed, first=answer)
    handle.remove()
    assert len(rows) == steps + calls and len(seen) == 2 * steps
    assert torch.equal(plain, begun) == (calls == steps)
    if calls < steps:
        kept = scheduler.alphas_cumprod[scheduler.timesteps[steps - calls]]
        expected = kept.sqrt() * 2.0 * answer.latents + (1 - kept).sqrt() * z  # guidance 2, over a null of zeros
        torch.testing.assert_close(rows[steps], expected)
        half = replace(answer, known=torch.tensor([True, False]))
        some = denoise(*fixed, first=half)
        torch.testing.assert_close(some[0], begun[0], atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(some[1], plain[1], atol=1e-5, rtol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("segments", [4, 8])
def test_an_image_that_begins_with_an_answer_is_the_same_in_any_company(student, segments):
    """Also where steps take noise anew, eight in four segments: one left out would leave its noise for later."""
    scheduler = SegmentScheduler.from_config(build_scheduler(SCHEDULE).config, segments=segments)
    answer = FirstAnswer(torch.ones(2, *SHAPE), torch.zeros(2, *SHAPE), torch.tensor([True, False]))
    z = seeds.image_noise([0, 1], SHAPE)
    both = denoise(student, scheduler, condition(2), z, 8, 1.0, [0, 1], first=answer)
    own = FirstAnswer(answer.latents[:1], answer.null[:1], answer.known[:1])
    alone = denoise(student, scheduler, condition(2).rows(slice(0, 1)), z[:1], 8, 1.0, [0], first=own)
    torch.testing.assert_close(alone[0], both[0], atol=1e-5, rtol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("kind", [DPMSolverMultistepScheduler, UniPCMultistepScheduler, DDPMScheduler])
def test_samplers_that_remember_more_than_the_latents_begin_with_noise(student, kind):
    scheduler = kind.from_config(build_scheduler(SCHEDULE).config)
    answer = FirstAnswer(torch.ones(1, *SHAPE), torch.zeros(1, *SHAPE), torch.tensor([True]))
    fixed = student, scheduler, condition(1), seeds.image_noise([0], SHAPE), 8, 1.0, [0]
    assert torch.equal(denoise(*fixed), denoise(*fixed, first=answer)) == (kind is not DDPMScheduler)
