"""Prompts are encoded once, and to the same bits as if nothing were remembered."""

import pytest
import torch

from gen.models.prompts import KEPT, KnownPrompts
from gen.models.text import TextEncoder, build_text_encoder, train_tokenizer
from gen.schema import TextConfig

PROMPTS = ["PA chest radiograph.", "Cardiomegaly.", "PA chest radiograph.", "", "Cardiomegaly."]


@pytest.fixture
def plain():
    torch.manual_seed(0)
    config = TextConfig(width=32, layers=2, heads=2, max_tokens=16)
    return build_text_encoder(config, train_tokenizer(PROMPTS)).requires_grad_(False).eval()


@pytest.fixture
def remembering(plain):
    """The same encoder with a memory, and the rows of each of its calls."""
    encoder, rows = TextEncoder(plain.model, plain.tokenizer, plain.max_tokens, known=KnownPrompts()), []
    encoder.model.register_forward_pre_hook(
        lambda module, inputs, named: rows.append(len(named["input_ids"])), with_kwargs=True
    )
    return encoder.eval(), rows


def alone(encoder, prompts):
    """States of prompts that are encoded one by one, without a memory."""
    states, masks = zip(*(encoder([prompt]) for prompt in prompts), strict=True)
    return torch.cat(states), torch.cat(masks)


@torch.no_grad()
def test_each_prompt_is_encoded_once_across_and_along_batches(plain, remembering):
    encoder, rows = remembering
    wanted = alone(plain, PROMPTS)
    rows.clear()
    first, again = encoder(PROMPTS), encoder(PROMPTS[::-1])
    assert rows == [1, 1, 1]
    for made, other, want in zip(first, again, wanted, strict=True):
        assert torch.equal(made, want) and torch.equal(other, want.flip(0))
    encoder([PROMPTS[0], "Something new."])
    assert rows == [1, 1, 1, 1]


@torch.no_grad()
def test_what_a_caller_does_to_its_states_stays_with_it(remembering):
    encoder, _ = remembering
    states, _ = encoder(PROMPTS)
    before = states.clone()
    states.zero_()
    assert torch.equal(encoder(PROMPTS)[0], before)


@torch.no_grad()
@pytest.mark.parametrize(
    "change",
    [
        lambda model: model.get_parameter("embeddings.word_embeddings.weight").mul_(2),
        lambda model: model.load_state_dict({k: 2 * v for k, v in model.state_dict().items()}, assign=True),
        lambda model: model.to(torch.float64),
    ],
    ids=["written to", "replaced", "converted"],
)
def test_other_weights_are_asked_anew(plain, remembering, change):
    encoder, rows = remembering
    before = encoder(PROMPTS)[0]
    change(encoder.model)
    wanted = alone(plain, PROMPTS)[0]
    rows.clear()
    after = encoder(PROMPTS)[0]
    assert rows == [1, 1, 1] and after.dtype == wanted.dtype
    assert torch.equal(after, wanted) and not torch.equal(after.float(), before)


@torch.no_grad()
def test_another_precision_is_asked_anew(remembering):
    encoder, rows = remembering
    encoder(PROMPTS)
    rows.clear()
    with torch.autocast("cpu", torch.bfloat16):
        encoder(PROMPTS)
    assert rows == [1, 1, 1]


def test_nothing_is_remembered_while_an_encoder_is_trained(remembering):
    encoder, rows = remembering
    encoder.requires_grad_(True)
    assert encoder(PROMPTS)[0].requires_grad
    with torch.no_grad():
        encoder.train()(PROMPTS)
    assert rows == [5, 5]


@torch.no_grad()
def test_the_oldest_prompts_are_forgotten(remembering):
    encoder, rows = remembering
    encoder(["first"])
    encoder([f"prompt {number}" for number in range(KEPT - 1)])
    encoder(["first"])
    assert len(rows) == KEPT
    encoder(["one more"])
    rows.clear()
    encoder(["first"])
    encoder(["prompt 0"])
    assert rows == [1]


def test_a_pipeline_encodes_a_prompt_once_for_all_its_images(tiny_pipeline):
    rows = []
    tiny_pipeline.text_encoder.register_forward_pre_hook(
        lambda module, inputs, named: rows.append(len(named["input_ids"])), with_kwargs=True
    )
    tiny_pipeline._prompts = KnownPrompts()  # loading encodes the empty prompt
    images = [
        tiny_pipeline("Cardiomegaly.", seed=seed, steps=1, output_type="np", progress=False, num_images_per_prompt=2)
        for seed in (0, 2)
    ]
    assert rows == [1, 1]  # the prompt and the empty one
    tiny_pipeline._prompts = KnownPrompts()
    anew = tiny_pipeline("Cardiomegaly.", seed=2, steps=1, output_type="np", progress=False, num_images_per_prompt=2)
    assert (anew.images == images[1].images).all()
