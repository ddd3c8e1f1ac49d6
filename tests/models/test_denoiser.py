"""UNet and transformer through the one interface."""

from dataclasses import replace

import pytest
import torch
from diffusers import LatentConsistencyModelPipeline

from gen.errors import UserError
from gen.models.condition import Condition
from gen.models.denoiser import build_denoiser, guidance_embedding, student_of, widened
from gen.schema import TransformerConfig, UNetConfig

CONFIGS = {
    "unet": UNetConfig(
        block_out_channels=(32, 64), layers_per_block=1, attention_levels=(False, True), head_channels=16
    ),
    "unet with summary": UNetConfig(
        block_out_channels=(32, 64), layers_per_block=1, attention_levels=(False, True), head_channels=16, summary=True
    ),
    "unet that is scaled": UNetConfig(
        block_out_channels=(32, 64), layers_per_block=1, attention_levels=(False, True), head_channels=16, scales=True
    ),
    "transformer": TransformerConfig(layers=2, heads=2, head_channels=16),
}
every_backbone = pytest.mark.parametrize("kind", CONFIGS)
TIMES = torch.tensor([10, 900])


def denoiser(kind, spatial=0, **changes):
    """With an output layer that is not zero, unless `zero` is asked for."""
    zero = changes.pop("zero", False)
    torch.manual_seed(0)
    model = build_denoiser(CONFIGS[kind].model_copy(update=changes), 4, 8, 12, spatial).eval()
    if not zero:
        last = model.backbone.proj_out if kind == "transformer" else model.backbone.conv_out
        torch.nn.init.normal_(last.weight, std=0.1)
    return model


def inputs(spatial=0, seed=0):
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randn(2, 6, 12, generator=generator)
    mask = torch.tensor([[True] * 6, [True, True, True, False, False, False]])
    z = torch.randn(2, 4, 8, 8, generator=generator)
    maps = torch.randn(2, spatial, 8, 8, generator=generator) if spatial else None
    return z, Condition(tokens, mask, tokens[:1] * 0, mask[:1], maps)


@torch.no_grad()
@every_backbone
def test_output_is_zero_at_the_start(kind):
    z, condition = inputs()
    output = denoiser(kind, zero=True)(z, TIMES, condition)
    assert output.shape == z.shape and output.abs().max() == 0
    assert denoiser(kind)(z, TIMES, condition).std() > 0.01


@torch.no_grad()
@every_backbone
def test_everything_that_is_given_has_influence(kind):
    model = denoiser(kind, spatial=3)
    assert model.latent_channels == 4
    z, condition = inputs(spatial=3)
    output = model(z, TIMES, condition)
    others = [
        model(z + 0.5, TIMES, condition),
        model(z, TIMES + 50, condition),
        model(z, TIMES, replace(condition, tokens=condition.tokens + 1)),
        model(z, TIMES, replace(condition, spatial=condition.spatial + 1)),
    ]
    assert all((output - other).abs().max() > 1e-4 for other in others)


@torch.no_grad()
@every_backbone
def test_masked_tokens_have_none(kind):
    model = denoiser(kind)
    z, condition = inputs()
    output = model(z, TIMES, condition)
    noise = torch.randn_like(condition.tokens)
    changed = torch.where(condition.mask[..., None], condition.tokens, condition.tokens + 10 * noise)
    assert not torch.equal(changed, condition.tokens)
    torch.testing.assert_close(model(z, TIMES, replace(condition, tokens=changed)), output, atol=1e-5, rtol=0)
    shown = replace(condition, mask=torch.ones_like(condition.mask))
    difference = (model(z, TIMES, shown) - output).abs().amax(dim=(1, 2, 3))
    assert difference[0] < 1e-5 and difference[1] > 1e-4


@torch.no_grad()
@every_backbone
def test_rows_do_not_see_one_another_and_one_time_serves_all(kind):
    model = denoiser(kind)
    z, condition = inputs()
    output = model(z, TIMES, condition)
    for row in range(2):
        part = Condition(*(getattr(condition, name)[row : row + 1] for name in ("tokens", "mask")), None, None)
        torch.testing.assert_close(
            model(z[row : row + 1], TIMES[row : row + 1], part), output[row : row + 1], atol=1e-5, rtol=0
        )
    same = model(z, torch.tensor(10), condition)
    torch.testing.assert_close(same[0], output[0], atol=1e-5, rtol=0)


@torch.no_grad()
def test_summary_reaches_the_time_embedding():
    """Where no level attends to the tokens, only the summary can carry them."""
    z, condition = inputs()
    changed = replace(condition, tokens=condition.tokens + 1)
    for summary in (False, True):
        model = denoiser("unet", summary=summary, attention_levels=(False, False))
        model.backbone.mid_block = None
        same = torch.equal(model(z, TIMES, condition), model(z, TIMES, changed))
        assert same is not summary


@torch.no_grad()
def test_guidance_embedding_changes_the_output_of_distilled_models():
    model = denoiser("unet", guidance_channels=16)
    z, condition = inputs()
    outputs = [model(z, TIMES, condition, torch.full((2,), scale)) for scale in (0.0, 1.0, 7.5)]
    assert (outputs[0] - outputs[1]).abs().max() > 1e-4
    assert (outputs[1] - outputs[2]).abs().max() > 1e-4
    mixed = model(z, TIMES, condition, torch.tensor([1.0, 7.5]))
    torch.testing.assert_close(mixed[0], outputs[1][0], atol=1e-5, rtol=0)
    torch.testing.assert_close(mixed[1], outputs[2][1], atol=1e-5, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize("kind", ["unet", "unet with summary"])
def test_a_student_of_mean_velocities_starts_as_its_teacher_and_can_be_told_where_to_arrive(kind):
    teacher = denoiser(kind, block_out_channels=(64, 64))  # of 32 channels the norms would take the embedding away
    student = student_of(teacher, 8, embeds_end=True)
    z, condition = inputs()
    scales, ends = torch.tensor([1.0, 3.0]), torch.tensor([-1, 400])
    assert torch.equal(teacher(z, TIMES, condition), student(z, TIMES, condition, scales, ends))
    torch.nn.init.normal_(student.backbone.add_embedding.linear_2.weight)
    own = student(z, TIMES, condition, scales)
    assert torch.equal(own, student(z, TIMES, condition, scales, TIMES - 1))
    assert bool(((own - student(z, TIMES, condition, scales, ends)).abs().amax(dim=(1, 2, 3)) > 1e-4).all())
    both = student(z[:1], torch.tensor(10), condition.rows(slice(0, 1)), scales[:1], torch.tensor(-1))
    torch.testing.assert_close(both, student(z, TIMES, condition, scales, ends)[:1], atol=1e-5, rtol=0)


def test_guidance_embedding_is_that_of_diffusers():
    scales = torch.tensor([0.0, 0.5, 2.0, 7.5])
    theirs = LatentConsistencyModelPipeline.get_guidance_scale_embedding(None, scales, embedding_dim=32)
    torch.testing.assert_close(guidance_embedding(scales, 32), theirs, rtol=1e-4, atol=1e-4)


@every_backbone
def test_gradient_checkpointing_keeps_the_gradients(kind):
    gradients = []
    for checkpointing in (False, True):
        model = denoiser(kind, gradient_checkpointing=checkpointing).train()
        z, condition = inputs()
        model(z, TIMES, condition).square().mean().backward()
        gradients.append({name: p.grad for name, p in model.named_parameters()})
    assert model.backbone.is_gradient_checkpointing
    for name, gradient in gradients[0].items():
        assert gradient is not None, name
        torch.testing.assert_close(gradients[1][name], gradient, rtol=1e-4, atol=1e-7)


@torch.no_grad()
def test_further_channels_change_nothing_at_first():
    model = denoiser("unet")
    z, plain = inputs()
    before = model(z, TIMES, plain)
    model.backbone = widened(model.backbone, 3)
    _, condition = inputs(spatial=3)
    torch.testing.assert_close(model(z, TIMES, condition), before)
    assert model.backbone.config.in_channels == 7 and model.latent_channels == 4
    model.backbone.conv_in.weight[:, 4:].fill_(0.1)
    assert not torch.allclose(model(z, TIMES, condition), before)
    assert widened(model.backbone, 3) is model.backbone


def test_what_cannot_be_widened_is_said():
    with pytest.raises(UserError, match="only UNets"):
        widened(denoiser("transformer").backbone, 3)
    with pytest.raises(UserError, match="takes 7 channels, this task gives only 5"):
        widened(denoiser("unet", spatial=3).backbone, 1)
