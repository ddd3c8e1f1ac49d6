"""The view task: sets of context images, what is left out, angles, and where contexts come from."""

import math
from dataclasses import replace

import pandas as pd
import pytest
import torch

from gen.data.siblings import with_siblings
from gen.errors import UserError
from gen.models.denoiser import Denoiser, build_denoiser
from gen.models.first_view import FirstView
from gen.models.study_code import StudyCoder
from gen.models.text import build_text_encoder, train_tokenizer
from gen.models.views import ViewEncoder
from gen.schema import TextConfig, UNetConfig
from gen.tasks.view import ViewTask

PROMPTS = ["PA chest radiograph.", "Lateral chest radiograph of a child with pneumonia."]


@pytest.fixture(scope="module")
def task():
    torch.manual_seed(0)
    text = build_text_encoder(TextConfig(width=16, layers=1, heads=2, max_tokens=16), train_tokenizer(PROMPTS))
    return ViewTask(text, ViewEncoder(4, 16, grid=2, hidden=8)).eval()


@pytest.fixture(scope="module")
def denoiser(task) -> Denoiser:
    unet = UNetConfig(block_out_channels=(32, 32), layers_per_block=1, attention_levels=(False, True), head_channels=16)
    made = build_denoiser(unet.model_copy(update={"summary": True}), 4, 8, 16, task.spatial_channels(4))
    torch.nn.init.normal_(made.backbone.conv_out.weight, std=0.1)
    return made.eval()


@pytest.fixture(scope="module")
def beginning(task):
    """The task with a network of first answers, which the denoiser is shown."""
    torch.manual_seed(1)
    first = FirstView.around(StudyCoder(4, width=8, features=8), side=8, width=8, hidden=8)
    encoder = ViewEncoder(4, 16, grid=2, hidden=8).beginning_with(first, shown=True)
    return ViewTask(task.text, encoder).eval()


def study(views=("PA", "LATERAL", "AP"), there=(True, True, True), angle=math.nan, view="LATERAL"):
    latents = torch.randn(2, 3, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    return {
        "prompt": PROMPTS,
        "view": [view, "UNKNOWN"],
        "angle": [angle, 20.0],
        "link_context": latents,
        "link_context_mask": torch.tensor([there, there]),
        "context_view": ["|".join(views)] * 2,
        "context_angle": ["||"] * 2,
    }


@torch.no_grad()
def drawn(denoiser, condition):
    z = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(2))
    return denoiser(z, torch.tensor([500, 500]), condition)


@torch.no_grad()
def test_the_order_of_context_images_does_not_count(task, denoiser):
    batch = study()
    plain = drawn(denoiser, task(batch))
    for order in ([2, 0, 1], [1, 0, 2]):
        views = "|".join(batch["context_view"][0].split("|")[place] for place in order)
        turned = batch | {"link_context": batch["link_context"][:, order], "context_view": [views] * 2}
        torch.testing.assert_close(drawn(denoiser, task(turned)), plain, atol=1e-5, rtol=1e-4)
    other = batch | {"context_view": ["LATERAL|PA|AP"] * 2}  # but which image is which view counts
    assert (drawn(denoiser, task(other)) - plain).abs().max() > 1e-3


@torch.no_grad()
def test_what_is_not_there_does_not_count(task, denoiser):
    batch = study(there=(True, False, False))
    plain = drawn(denoiser, task(batch))
    junk = batch["link_context"].clone()
    junk[:, 1:] = 7.0
    torch.testing.assert_close(drawn(denoiser, task(batch | {"link_context": junk})), plain)
    junk[:, 0] = 7.0
    assert (drawn(denoiser, task(batch | {"link_context": junk})) - plain).abs().max() > 1e-3


@torch.no_grad()
def test_slots_are_means_of_frontal_and_lateral_images(task):
    maps = task(study()).spatial
    latents = study()["link_context"]
    torch.testing.assert_close(maps[:, :4], (latents[:, 0] + latents[:, 2]) / 2)
    torch.testing.assert_close(maps[:, 5:9], latents[:, 1])
    assert (maps[:, 4] == 1).all() and (maps[:, 9] == 1).all()
    none = task(study(there=(True, False, False))).spatial
    assert not none[:, 5:].any()


@torch.no_grad()
def test_the_null_is_no_words_no_view_and_no_context(task):
    null = task(study()).null()
    empty = study(there=(False,) * 3, view="UNKNOWN") | {"prompt": ["", ""], "angle": [math.nan] * 2}
    nothing = task(empty)
    torch.testing.assert_close(null.tokens, nothing.tokens, atol=1e-5, rtol=0)
    assert torch.equal(null.mask, nothing.mask) and torch.equal(null.spatial, nothing.spatial)
    torch.testing.assert_close(null.summary(), nothing.summary(), atol=1e-5, rtol=0)


@torch.no_grad()
def test_the_summary_leaves_context_out(task):
    some, none = task(study()), task(study(there=(False,) * 3))
    assert some.mask.sum() > none.mask.sum()
    torch.testing.assert_close(some.summary(), none.summary())
    assert (some.summary() - task(study(view="PA")).summary()).abs()[0].max() > 1e-3


@torch.no_grad()
def test_a_first_answer_is_of_the_study_and_not_of_the_order_of_its_images(beginning):
    batch = study()
    answer = beginning.first_answer(batch)
    assert answer.known.all() and (answer.latents - answer.null).abs().max() > 1e-3
    order = [2, 0, 1]
    turned = batch | {"link_context": batch["link_context"][:, order], "context_view": ["AP|PA|LATERAL"] * 2}
    torch.testing.assert_close(beginning.first_answer(turned).latents, answer.latents, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(beginning.first_answer(batch | {"prompt": ["", ""]}).latents, answer.latents)
    for other in (study(view="PA"), study(angle=30.0)):
        assert (beginning.first_answer(other).latents - answer.latents)[0].abs().max() > 1e-3
    torch.testing.assert_close(answer.guided(1.0).latents, answer.latents)
    torch.testing.assert_close(answer.guided(0.0).latents, answer.null)


@torch.no_grad()
def test_without_context_nothing_is_known_before_drawing(task, beginning):
    assert task.first_answer(study()) is None
    assert beginning.first_answer(study(there=(False,) * 3)) is None
    mixed = study()
    mixed["link_context_mask"] = torch.tensor([[True, False, False], [False] * 3])
    answer = beginning.first_answer(mixed)
    assert answer.known.tolist() == [True, False]
    torch.testing.assert_close(answer.latents[1], answer.null[1])


@torch.no_grad()
def test_a_first_answer_that_is_shown_is_a_map_where_there_is_context(task, beginning):
    batch = study()
    maps = beginning(batch).spatial
    assert maps.shape[1] == beginning.spatial_channels(4) == task.spatial_channels(4) + 5
    torch.testing.assert_close(maps[:, 10:14], beginning.first_answer(batch).latents)
    assert (maps[:, 14] == 1).all() and not beginning(study(there=(False,) * 3)).spatial[:, 10:].any()
    assert not beginning(batch).null().spatial.any()
    torch.testing.assert_close(maps[:, :10], task(batch).spatial)


@torch.no_grad()
def test_a_first_answer_is_a_number_in_half_precision_too(beginning):
    """The code of nobody is zero, and zero by a norm in half precision is none."""
    answer = beginning.first_answer(study())
    beginning.conditioner.half()
    try:
        half = beginning.first_answer(study() | {"link_context": study()["link_context"].half()})
        for whole, part in ((answer.latents, half.latents), (answer.null, half.null)):
            assert part.dtype == torch.float16
            torch.testing.assert_close(part.float(), whole, atol=1e-2, rtol=1e-2)
    finally:
        beginning.conditioner.float()


def test_what_is_shown_has_to_be_there():
    for shown in (True, "no"):
        with pytest.raises(ValueError, match="shown"):
            ViewEncoder(4, 16, grid=2, hidden=8, shown=shown)


def test_the_first_answer_of_a_view_model_stays_as_it_was(beginning):
    encoder = beginning.conditioner.requires_grad_(True).train()
    try:
        assert not any(weight.requires_grad for weight in encoder.first_view.parameters())
        assert not encoder.first_view.training and not encoder.first_view.study_coder.training
        assert encoder.place.requires_grad
    finally:
        encoder.requires_grad_(False).eval()


def test_a_first_answer_has_the_size_of_its_latents():
    coder = {"latent_channels": 4, "width": 8, "features": 8, "dropout": 0.0, "resolution": 64}
    assert len(FirstView(coder, side=64, width=8, hidden=8).doubled) == 4
    for side in (4, 12, 33):
        with pytest.raises(ValueError, match=f"side={side}"):
            FirstView(coder, side=side)


@torch.no_grad()
def test_angles_go_round_and_a_named_view_has_its_own(task):
    def token(**given):
        return task(study(**given)).tokens[0, 16]

    torch.testing.assert_close(token(angle=0.0), token(angle=360.0), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(token(), token(angle=90.0))
    assert (token(angle=90.0) - token(angle=60.0)).abs().max() > 1e-2
    assert (token(view="PA") - token(view="UNKNOWN", angle=0.0)).abs().max() > 1e-2


@torch.no_grad()
def test_training_leaves_parts_out_one_by_one(task):
    encoder = task.conditioner

    def given(probability):
        encoder.register_to_config(part_drop=probability)
        torch.manual_seed(3)
        return task(study())

    plain = given(0.5)
    encoder.train()
    try:
        torch.testing.assert_close(given(0.0).tokens, plain.tokens)
        assert torch.equal(given(1.0).mask, plain.null_mask)
        counts = [int(given(0.5).spatial[:, [4, 9], 0, 0].sum()) for _ in range(1)]
        torch.manual_seed(4)
        counts += [int(task(study()).spatial[:, [4, 9], 0, 0].sum()) for _ in range(20)]
        assert len(set(counts)) > 1 and max(counts) <= 4
    finally:
        encoder.eval()
    encoder.register_to_config(part_drop=1.0)  # a student that is distilled asks for it, too
    assert torch.equal(task(study() | {"parts": "some"}).mask, plain.null_mask)
    encoder.register_to_config(part_drop=0.2)


def test_an_unknown_view_is_refused(task):
    with pytest.raises(UserError, match=r"view 'OBLIQUE': one of UNKNOWN, PA"):
        task(study(view="OBLIQUE"))


def test_contexts_are_the_other_images_of_the_study():
    rows = pd.DataFrame({"image": list("abcdefgh"), "patient_id": list("pppppqrr")})
    rows["study_id"] = ["s"] * 5 + ["s", "", ""]
    rows["view"] = ["PA", "LATERAL", "AP", "PA", "UNKNOWN", "PA", "PA", "AP"]
    rows["angle"] = [0.0, 90.0, math.nan, 0.5, -30.0, 0.0, 0.0, 0.0]
    found = ViewTask.rows(rows)
    assert found["context"].tolist() == ["b|c|d", "a|c|d", "a|b|d", "a|b|c", "a|b|c", "", "", ""]
    assert found["context_view"][0] == "LATERAL|AP|PA" and found["context_angle"][0] == "90||0.5"
    assert with_siblings(rows, "others", 1)["others"].tolist()[:2] == ["b", "a"]
    bare = ViewTask.rows(rows[["image", "patient_id"]])
    assert (bare["context"] == "").all() and (bare["view"] == "UNKNOWN").all() and bare["angle"].isna().all()


def test_dropping_keeps_the_summary_mask(task):
    condition = task(study())
    both = condition.cat_null()
    assert both.summarised.shape == (4, condition.tokens.shape[1])
    assert replace(condition, summarised=None).summary().shape == condition.summary().shape
