"""Every task: from a batch to a condition. A new task is a row in `TASK_BATCHES`."""

import pytest
import torch

from gen.models.text import build_text_encoder, train_tokenizer
from gen.schema import TextConfig
from gen.schema.tasks import AnyTaskConfig
from gen.tasks import TASKS

PROMPTS = ["PA chest radiograph.", "AP chest radiograph of a child with pneumonia."]
NAMES = {name for kind in AnyTaskConfig.__subclasses__() for name in kind.model_fields["name"].annotation.__args__}
CONFIGS = {kind.model_fields["name"].default: kind() for kind in AnyTaskConfig.__subclasses__()}
LATENTS = torch.randn(2, 3, 4, 8, 8, generator=torch.Generator().manual_seed(0))
STUDY = {
    "view": ["LATERAL", "UNKNOWN"],
    "angle": [float("nan"), 30.0],
    "link_context": LATENTS,
    "link_context_mask": torch.tensor([[True, False, False], [True, True, True]]),
    "context_view": ["PA", "PA|LATERAL|"],
    "context_angle": ["", "0|90|45"],
}
HOLE = torch.zeros(2, 1, 8, 8, dtype=torch.bool)
HOLE[:, :, 2:5, 3:6] = True
TASK_BATCHES = {
    "text": {"prompt": PROMPTS, "key": ["a", "b"]},
    "view": {"prompt": PROMPTS, **STUDY},
    "inpaint": {"prompt": PROMPTS, "link_image": LATENTS[:, :1], "edit_mask": HOLE},
    "temporal": {
        "prompt": PROMPTS,
        "events": ['[[12.0,"diuretic",40.0,"mg"]]', ""],
        "gap_hours": [24.0, 72.0],
        "link_prior": LATENTS[:, :1],
        "link_prior_mask": torch.tensor([[True], [False]]),
    },
    "bone": {"link_image": LATENTS[:, :1], "link_image_mask": torch.ones(2, 1, dtype=torch.bool)},
}


def encoder():
    config = TextConfig(width=16, layers=1, heads=2, max_tokens=16)
    return build_text_encoder(config, train_tokenizer(PROMPTS))


@pytest.fixture(params=TASKS)
def task(request):
    torch.manual_seed(0)
    kind, text = TASKS[request.param], encoder()
    made = kind(text, kind.new_conditioner(CONFIGS[request.param], (4, 8, 8), text.width)).eval()
    return made, TASK_BATCHES[request.param]


def test_names_and_configs_agree():
    assert set(TASKS) == set(TASK_BATCHES) == NAMES


@torch.no_grad()
def test_condition_has_a_row_a_sample(task):
    module, batch = task
    condition = module(batch)
    assert set(module.needs.columns) <= set(batch)
    assert condition.tokens.shape[:2] == condition.mask.shape == condition.null_mask.shape
    assert condition.null_tokens.shape == condition.tokens.shape and len(condition.tokens) == 2
    channels = module.spatial_channels(4)
    assert channels == (0 if condition.spatial is None else condition.spatial.shape[1])


@torch.no_grad()
def test_a_row_does_not_depend_on_its_batch(task):
    module, batch = task
    both = module(batch)
    second = module({name: values[1:] for name, values in batch.items()})
    torch.testing.assert_close(both.tokens[1:], second.tokens, atol=1e-5, rtol=0)
    assert torch.equal(both.mask[1:], second.mask)
    if both.spatial is not None:
        torch.testing.assert_close(both.spatial[1:], second.spatial)


@torch.no_grad()
def test_null_of_text_is_the_empty_prompt():
    torch.manual_seed(0)
    module = TASKS["text"](encoder()).eval()
    condition = module({"prompt": PROMPTS})
    empty, mask = module.text([""])
    torch.testing.assert_close(condition.null().tokens, empty.expand(2, -1, -1), atol=1e-5, rtol=0)
    assert torch.equal(condition.null().mask, mask.expand(2, -1)) and mask.sum() == 2
    given, _ = module.text(PROMPTS)
    torch.testing.assert_close(condition.tokens, given, atol=1e-5, rtol=0)


def test_null_is_trained_with_the_encoder():
    module = TASKS["text"](encoder())
    module({"prompt": PROMPTS}).null().tokens.square().sum().backward()
    assert all(p.grad is not None for p in module.parameters())
