"""`pipe.inpaint(...)`: what is kept, what is drawn, and what is refused."""

import numpy as np
import pytest
import torch
from PIL import Image

from gen.calls.inpaint import covered
from gen.errors import UserError
from gen.models.denoiser import widened
from gen.tasks import TASKS

PROMPT = "PA chest radiograph with a mass."
FAST = {"steps": 3, "progress": False}


@pytest.fixture(params=["text", "inpaint"])
def pipeline(request, tiny_pipeline):
    """A model of prompts alone, and one that sees what surrounds a hole."""
    if request.param == "inpaint":
        torch.manual_seed(0)
        unet = widened(tiny_pipeline.unet, TASKS["inpaint"].spatial_channels(4))
        torch.nn.init.normal_(unet.conv_in.weight, std=0.1)
        tiny_pipeline.register_to_config(task="inpaint")
    return tiny_pipeline


@pytest.fixture
def image():
    return Image.fromarray(np.random.default_rng(0).integers(0, 255, (32, 32), dtype=np.uint8))


def box(rows: slice, columns: slice) -> Image.Image:
    mask = np.zeros((32, 32), np.uint8)
    mask[rows, columns] = 255
    return Image.fromarray(mask)


EDIT = box(slice(8, 16), slice(8, 24))


def test_the_rest_is_kept_to_the_pixel(pipeline, image):
    out = pipeline.inpaint(image, EDIT, PROMPT, **FAST)
    inside = np.asarray(EDIT) > 0
    before, after = np.asarray(image).astype(int), np.asarray(out.images[0]).astype(int)
    assert np.array_equal(before[~inside], after[~inside])
    assert np.abs(before[inside] - after[inside]).mean() > 5
    assert out.records[0].given == "inside a mask of 12.5% of the image" and out.records[0].prompt == PROMPT


def test_seed_and_prompt_decide(pipeline, image):
    def drawn(prompt, seed):
        return np.asarray(pipeline.inpaint(image, EDIT, prompt, seed=seed, **FAST).images[0])

    assert np.array_equal(drawn(PROMPT, 1), drawn(PROMPT, 1))
    assert not np.array_equal(drawn(PROMPT, 1), drawn(PROMPT, 2))
    assert not np.array_equal(drawn(PROMPT, 1), drawn("AP chest radiograph.", 1))


def test_between_the_two_masks_the_image_may_follow(pipeline, image):
    keep = box(slice(24, 32), slice(0, 32))
    after = np.asarray(pipeline.inpaint(image, EDIT, PROMPT, keep, **FAST).images[0])
    before = np.asarray(image)
    assert np.array_equal(before[24:], after[24:]) and not np.array_equal(before[:8], after[:8])


def test_only_a_trained_model_sees_what_surrounds_the_hole(pipeline, image):
    # latents are held alike; what differs is the picture that the denoiser is shown, in the region that nothing holds
    darker = Image.fromarray(np.asarray(image) // 2)
    keep = box(slice(31, 32), slice(31, 32))
    drawn = [pipeline.inpaint(one, EDIT, PROMPT, keep, **FAST).images[0] for one in (image, darker)]
    inside = [np.asarray(one)[8:16, 8:24].astype(int) for one in drawn]
    changed = np.abs(inside[0] - inside[1]).mean()
    assert changed > 1 if pipeline.config.task == "inpaint" else changed < 1


def test_a_latent_is_edited_where_any_of_its_pixels_is():
    mask = np.zeros((32, 32), bool)
    mask[3, 4] = True
    marked = covered(mask, torch.zeros(1, 4, 8, 8))
    assert marked.sum() == 1 and marked[0, 0, 0, 1]


def test_misfits_are_refused(pipeline, image, view_pipeline):
    with pytest.raises(UserError, match="edit mask: nothing is marked"):
        pipeline.inpaint(image, box(slice(0, 0), slice(0, 0)), PROMPT, **FAST)
    with pytest.raises(UserError, match="keep mask: 32 pixels are in the edit mask too"):
        pipeline.inpaint(image, EDIT, PROMPT, box(slice(12, 20), slice(0, 16)), **FAST)
    with pytest.raises(UserError, match="of task view; load a model of task inpaint or text"):
        view_pipeline.inpaint(image, EDIT, PROMPT, **FAST)
