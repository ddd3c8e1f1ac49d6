"""Bone suppression of an image: size, exactness where nothing was drawn, refusals."""

import numpy as np
import pytest
import torch
from PIL import Image

from gen.calls import bone
from gen.calls.bone import BoneModel, diffusion_bones, enlarged, shrunk, split, unpadded
from gen.calls.bone_dual import dual_bones, dual_softs
from gen.calls.bone_paths import PathSettings
from gen.data.images import pad_to_square, prepare_array, resize
from gen.data.inspection import mean_chest
from gen.errors import UserError
from gen.judges.lungs import LungSegmenter
from gen.pipeline import CXRPipeline


@pytest.fixture(scope="module")
def pipeline(tiny_bone_dir):
    return CXRPipeline.from_pretrained(tiny_bone_dir)


@pytest.fixture
def chest():
    return np.clip(np.asarray(Image.fromarray(mean_chest()).resize((300, 260))), 0, 1)


def test_the_image_less_what_was_removed(pipeline, chest):
    result = pipeline.suppress_bones(chest, steps=2, anyway=True)
    assert result.soft.shape == result.removed.shape == chest.shape
    np.testing.assert_allclose(result.soft + result.removed, chest, atol=1e-6)
    assert np.abs(result.removed).max() > 0.01 and result.record.task == "bone"
    again = pipeline.suppress_bones(chest, steps=2, anyway=True)
    assert np.array_equal(again.soft, result.soft)


def test_the_mean_of_drawings_varies_less(pipeline, chest):
    def removed(seed, draws):
        return pipeline.suppress_bones(chest, 2, seed, draws, anyway=True).removed

    one, many = (np.abs(removed(0, draws) - removed(1, draws)).mean() for draws in (1, 8))
    assert many < one


def test_without_bones_the_output_is_the_input(pipeline, chest):
    record = diffusion_bones(pipeline, 1).record
    idle = BoneModel(lambda x: torch.zeros(x.shape[0], *x.shape[2:]), 32, record)
    assert np.array_equal(idle.suppress(chest, anyway=True).soft, chest)


def test_a_closer_look_through_tiles(pipeline, chest):
    """What looks at each pixel alone finds the same, only sharper."""
    model = BoneModel(lambda x: (x[:, 0] + 1) / 20, 32, diffusion_bones(pipeline, 1).record)
    near, far = (model.suppress(chest, anyway=True, scale=scale).removed for scale in (4, 1))
    truth = np.maximum(chest / 10 - bone.LEAST, 0)
    assert np.abs(near - truth).mean() < np.abs(far - truth).mean() < 0.01


def test_less_than_a_grey_level_is_no_bone():
    assert np.array_equal(shrunk(np.array([0.002, -0.002])), [0, 0])
    assert shrunk(np.array([0.1]))[0] == pytest.approx(0.1 - bone.LEAST)


@pytest.mark.parametrize("shape", [(300, 200), (200, 300), (513, 512), (256, 256)])
def test_padding_goes_and_place_stays(shape):
    """A layer at the model's size and the image it was found in lie on one another."""
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    blob = np.exp(-((rows / shape[0] - 0.3) ** 2 + (columns / shape[1] - 0.6) ** 2) / 0.02).astype(np.float32)
    square = prepare_array(blob, 64) / 2 + 0.5
    height, width = unpadded(square, *shape).shape
    assert max(height, width) == 64
    whole = np.concatenate([part for _, part in enlarged(square, shape)])
    assert whole.shape == shape and np.abs(whole - blob).max() < 0.03


def test_strips_make_no_seams(monkeypatch):
    square = np.random.default_rng(0).random((32, 32)).astype(np.float32)
    image = np.full((300, 280), 0.9, np.float32)
    whole = split(image, square)[0]
    monkeypatch.setattr(bone, "STRIP", 17)
    np.testing.assert_allclose(split(image, square)[0], whole, atol=1e-6)


def test_refusals(pipeline, chest, tiny_pipeline):
    with pytest.raises(UserError, match="shorter side needs at least 128"):
        pipeline.suppress_bones(np.zeros((127, 400), np.float32))
    with pytest.raises(UserError, match="shows nothing"):
        pipeline.suppress_bones(np.full((200, 200), 0.5, np.float32), steps=1)
    with pytest.raises(UserError, match="dark bone"):
        pipeline.suppress_bones(1 - chest, steps=1)
    assert "dark bone" in pipeline.suppress_bones(1 - chest, steps=1, anyway=True).warnings[0]
    with pytest.raises(UserError, match="task 'text'"):
        tiny_pipeline.suppress_bones(chest)


def test_the_mean_of_looks_says_so_and_differs_from_one(pipeline, chest):
    one, many = (pipeline.suppress_bones(chest, 1, looks=looks, anyway=True) for looks in (1, 8))
    assert one.record.given == "the mean of 1 looks" and many.record.given == "the mean of 8 looks"
    assert 0.001 < np.abs(one.removed - many.removed).mean() < np.abs(one.removed).mean()
    with pytest.raises(UserError, match="looks=9"):
        pipeline.suppress_bones(chest, 1, looks=9, anyway=True)


def test_gl_lcm_as_a_bone_model(pipeline, chest):
    """At the model's size the output is what both paths give, blended."""
    segmenter = LungSegmenter.load()
    model = dual_bones(pipeline, segmenter, steps=2, seed=3)
    square = np.clip(resize(pad_to_square(chest), 128), 0, 1)
    pixels = torch.from_numpy(resize(pad_to_square(square), 32)).clamp(0, 1)[None, None] * 2 - 1
    softs = dual_softs(pipeline, pixels, segmenter.masks(pixels)[:, :1], PathSettings(steps=2), 3, batched=False)
    torch.testing.assert_close(model.layers(pixels), pixels[:, 0] / 2 + 0.5 - softs)
    record = model.suppress(square, anyway=True).record
    assert record.steps == 2 and record.seed == 3 and "two paths" in record.scheduler


def test_two_paths_in_one_batch_equal_one_after_the_other(pipeline, chest):
    pixels = torch.from_numpy(resize(pad_to_square(chest), 32)).clamp(0, 1)[None, None] * 2 - 1
    lungs = torch.zeros(1, 1, 32, 32)
    lungs[..., 6:26, 4:28] = 1
    settings = PathSettings(steps=2)
    batched, apart = (dual_softs(pipeline, pixels, lungs, settings, batched=way) for way in (True, False))
    assert batched.shape == (1, 32, 32)
    torch.testing.assert_close(batched, apart, atol=1e-4, rtol=0)
    outside = dual_softs(pipeline, pixels, torch.zeros_like(lungs), settings)
    rim = lungs[:, 0] == 0
    assert torch.allclose(batched[rim], outside[rim], atol=1e-4)
