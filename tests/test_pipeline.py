"""CXRPipeline with real components at tiny size: per-image seeds, samplers, saving, Stable Diffusion folders."""

import json
import shutil

import numpy as np
import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    LCMScheduler,
    UNet2DConditionModel,
)
from PIL import Image

from gen import seeds
from gen.errors import UserError
from gen.models.codec import LatentCodec
from gen.models.denoiser import build_denoiser
from gen.models.text import build_text_encoder, train_tokenizer
from gen.objectives.schedule import build_scheduler
from gen.pipeline import CXRPipeline
from gen.provenance import NOTICE
from gen.schema import DiffusionConfig, TextConfig, TransformerConfig, UNetConfig
from gen.tasks import TASKS

PROMPT = "PA chest radiograph of a 60-year-old man with cardiomegaly."
CORPUS = [PROMPT, "AP chest radiograph of a woman. No acute findings.", "Lateral view of a child with pneumonia."]
UNET = UNetConfig(block_out_channels=(32, 32), layers_per_block=1, attention_levels=(False, True), head_channels=16)
TRANSFORMER = TransformerConfig(layers=1, heads=2, head_channels=16)


def build(denoiser=UNET, prediction="v_prediction"):
    """Random weights, an output layer that is not zero."""
    torch.manual_seed(0)
    shape = {"block_out_channels": (8, 16, 16), "layers_per_block": (0, 1, 1)}
    codec = LatentCodec(kind="dc", latent_channels=4, **shape)
    text = build_text_encoder(TextConfig(width=16, layers=1, heads=2, max_tokens=24), train_tokenizer(CORPUS))
    task = TASKS["text"](text)
    model = build_denoiser(denoiser, 4, 8, 16)
    last = model.backbone.conv_out if denoiser is UNET else model.backbone.proj_out
    torch.nn.init.normal_(last.weight, std=0.1)
    objective = DiffusionConfig(prediction=prediction, schedule="scaled_linear", zero_terminal_snr=True)
    pipeline = CXRPipeline.from_modules(codec.eval(), task.eval(), model.eval(), build_scheduler(objective), 32)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@pytest.fixture(scope="module")
def shared():
    return build()


@pytest.fixture
def pipeline(shared):
    """Its scheduler may be exchanged."""
    shared.scheduler = DDIMScheduler.from_config(shared.scheduler.config)
    yield shared
    shared.scheduler = DDIMScheduler.from_config(shared.scheduler.config)


def draw(pipeline, prompt=PROMPT, **changes):
    return pipeline(prompt, **{"steps": 3, "seed": 0, "progress": False, "output_type": "latent", **changes})


SAMPLERS = {
    "ddim": (DDIMScheduler, {}),
    "ddpm": (DDPMScheduler, {}),
    "dpm": (DPMSolverMultistepScheduler, {}),
    "sde": (DPMSolverMultistepScheduler, {"algorithm_type": "sde-dpmsolver++"}),
    "euler": (EulerDiscreteScheduler, {}),
    "ancestral": (EulerAncestralDiscreteScheduler, {}),
    "lcm": (LCMScheduler, {}),
}


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_batch_of_eight_is_eight_batches_of_one(pipeline, name):
    """With every sampler, those that draw noise at each step included."""
    kind, options = SAMPLERS[name]
    pipeline.scheduler = kind.from_config(pipeline.scheduler.config, **options)
    prompts = [CORPUS[number % 3] for number in range(8)]
    together = draw(pipeline, prompts, seed=5).images
    assert together.shape == (8, 4, 8, 8) and torch.isfinite(together).all()
    assert pipeline.scheduler.config.prediction_type == "v_prediction"
    for number in (0, 3, 7):
        alone = draw(pipeline, prompts[number], seed=5 + number).images
        # zero terminal SNR starts the Euler samplers at sigma 4096, where float32 has no more than 1e-3 of a unit
        atol = 1e-3 if pipeline.scheduler.init_noise_sigma > 100 else 1e-5
        torch.testing.assert_close(together[number], alone[0], atol=atol, rtol=1e-4)
    assert torch.equal(draw(pipeline, prompts, seed=5).images, together)
    assert torch.unique(together.flatten(1), dim=0).shape[0] == 8


@pytest.mark.parametrize("name", ["ddim", "lcm"])
def test_all_of_eight_images_match_in_pixels(pipeline, name):
    pipeline.scheduler = SAMPLERS[name][0].from_config(pipeline.scheduler.config)
    together = draw(pipeline, [PROMPT] * 8, output_type="np").images
    for number in range(8):
        alone = draw(pipeline, seed=number, output_type="np").images
        np.testing.assert_allclose(together[number], alone[0], atol=1e-5)


def test_sampling_is_ddim_by_hand(pipeline):
    """Two steps of eta-0 DDIM with guidance, written out from the paper (arXiv 2010.02502, equation 12)."""
    scale, steps = 3.0, 2
    bars = pipeline.scheduler.alphas_cumprod
    condition = pipeline.task({"prompt": [PROMPT]})
    z = seeds.image_noise([9], (4, 8, 8))
    with torch.no_grad():
        for t, before in ((999, 499), (499, -1)):
            time = torch.tensor([t])
            given = pipeline.unet(z, time, condition.tokens, encoder_attention_mask=condition.mask).sample
            null = pipeline.unet(z, time, condition.null_tokens, encoder_attention_mask=condition.null_mask).sample
            v = null + scale * (given - null)
            alpha, sigma = bars[t].sqrt(), (1 - bars[t]).sqrt()
            z0, noise = alpha * z - sigma * v, alpha * v + sigma * z
            bar = bars[before] if before >= 0 else torch.tensor(1.0)
            z = bar.sqrt() * z0 + (1 - bar).sqrt() * noise
    output = draw(pipeline, seed=9, steps=steps, guidance=scale)
    torch.testing.assert_close(output.images, z, atol=1e-5, rtol=1e-4)


def test_guidance_one_is_the_conditional_model_alone(pipeline):
    """One denoiser call a step, on one row an image; the same as guidance barely beside 1."""
    rows = []
    handle = pipeline.unet.register_forward_hook(lambda module, inputs, output: rows.append(len(inputs[0])))
    plain = draw(pipeline, guidance=1).images
    near = draw(pipeline, guidance=1 + 1e-6).images
    handle.remove()
    assert rows == [1, 1, 1, 2, 2, 2]
    torch.testing.assert_close(plain, near, atol=1e-4, rtol=0)
    null = draw(pipeline, "", guidance=1).images
    torch.testing.assert_close(draw(pipeline, guidance=0).images, null, atol=1e-4, rtol=0)
    assert (draw(pipeline, guidance=5).images - plain).abs().max() > 1e-4


def test_transformers_draw_by_the_same_call():
    pipeline = build(TRANSFORMER)
    together = draw(pipeline, [PROMPT] * 2, guidance=2).images
    torch.testing.assert_close(draw(pipeline, seed=1, guidance=2).images[0], together[1], atol=1e-5, rtol=1e-4)


def test_seeds_are_counted_up_or_listed(pipeline):
    counted = draw(pipeline, num_images_per_prompt=3, seed=np.int64(4))
    assert [record.seed for record in counted.records] == [4, 5, 6]
    listed = draw(pipeline, [PROMPT] * 3, seed=[6, 4, 4]).images
    torch.testing.assert_close(listed[[0, 1]], counted.images[[2, 0]], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(listed[1], listed[2], atol=1e-5, rtol=1e-4)


def test_output_types_agree(pipeline):
    latents, arrays, pictures = (draw(pipeline, output_type=kind).images for kind in ("latent", "np", "pil"))
    assert arrays.shape == (1, 32, 32) and arrays.min() >= 0 and arrays.max() <= 1
    assert isinstance(pictures[0], Image.Image) and pictures[0].mode == "L" and pictures[0].size == (32, 32)
    np.testing.assert_allclose(np.asarray(pictures[0]), arrays[0] * 255, atol=0.51)
    with torch.no_grad():
        decoded = pipeline.vae.decode(latents).clamp(-1, 1)[:, 0] / 2 + 0.5
    np.testing.assert_allclose(arrays, decoded.numpy(), atol=1e-6)


def test_records_tell_how_to_draw_the_image_again(pipeline):
    (record,) = draw(pipeline, "Cardiomegaly.", view="PA", sex="F", age=60, seed=3, guidance=2.5).records
    assert record.prompt.endswith("Cardiomegaly.") and "60-year-old woman" in record.prompt
    assert (record.view, record.sex, record.age, record.findings) == ("PA", "F", 60.0, "Cardiomegaly")
    assert (record.seed, record.steps, record.guidance, record.scheduler) == (3, 3, 2.5, "DDIMScheduler")
    assert record.task == "text" and record.synthetic and record.notice == NOTICE and record.version
    again = draw(pipeline, record.prompt, seed=record.seed, steps=record.steps, guidance=record.guidance).images
    assert torch.equal(again, draw(pipeline, "Cardiomegaly.", view="PA", sex="F", age=60, seed=3, guidance=2.5).images)
    pipeline.scheduler = LCMScheduler.from_config(pipeline.scheduler.config)
    assert draw(pipeline).records[0].scheduler == "LCMScheduler"


def test_callback_sees_and_changes_every_step(pipeline):
    seen = []

    def callback(owner, number, t, values):
        assert owner is pipeline
        seen.append((number, int(t), values["latents"].clone()))
        return {"latents": values["latents"] * 0} if number == 2 else {}

    output = draw(pipeline, callback_on_step_end=callback)
    assert [number for number, _, _ in seen] == [0, 1, 2]
    assert [t for _, t, _ in seen] == pipeline.scheduler.timesteps.tolist()
    assert output.images.abs().max() == 0
    torch.testing.assert_close(seen[2][2], draw(pipeline).images)


def test_defaults_come_from_the_model(pipeline):
    pipeline.register_to_config(steps=2, guidance=1.5)
    (record,) = pipeline(PROMPT, progress=False, output_type="latent").records
    assert (record.steps, record.guidance) == (2, 1.5)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"prompt": []}, "prompt: nothing to draw"),
        ({"steps": 0}, "steps=0: at least 1"),
        ({"steps": 1001}, "steps=1001: DDIMScheduler refuses"),
        ({"guidance": -1}, "guidance=-1: at least 0"),
        ({"output_type": "jpeg"}, "output_type='jpeg': one of pil, np, latent"),
        ({"seed": [1, 2]}, "seed: 2 seeds for 1 images"),
        ({"view": "OBLIQUE"}, "view=OBLIQUE: one of PA"),
        ({"sex": "X"}, "sex=X: M or F"),
        ({"age": 300}, "age=300"),
        ({"age": 20}, "age=20: the prompt .* says 60"),
    ],
)
def test_bad_input_is_named(pipeline, changes, said):
    with pytest.raises(UserError, match=said):
        draw(pipeline, **changes)


def test_attention_slicing_changes_nothing(pipeline):
    expected = draw(pipeline).images
    pipeline.enable_attention_slicing(1)
    sliced = draw(pipeline).images
    pipeline.disable_attention_slicing()
    torch.testing.assert_close(sliced, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("denoiser", [UNET, TRANSFORMER], ids=["unet", "transformer"])
def test_a_saved_pipeline_draws_the_same_images(denoiser, tmp_path):
    pipeline = build(denoiser)
    pipeline.vae.fit_whitening(torch.randn(8, 4, 4, 4) * 3 + 1)
    pipeline.register_to_config(name="tiny", steps=2, guidance=3.0)
    pipeline.save_pretrained(tmp_path / "a")
    pickled = [path for path in tmp_path.rglob("*") if path.suffix in (".bin", ".pt", ".pth", ".ckpt", ".pkl")]
    assert pickled == [] and len(list(tmp_path.rglob("*.safetensors"))) == 3
    again = CXRPipeline.from_pretrained(tmp_path / "a")
    first, second = (draw(p, [PROMPT, ""], output_type="np", steps=None) for p in (pipeline, again))
    np.testing.assert_array_equal(first.images, second.images)
    assert (first.records[0].model, first.records[0].steps, first.records[0].model_hash) == ("tiny", 2, "unsaved")
    assert second.records[0].model_hash == again.model_hash != "unsaved"
    again.save_pretrained(tmp_path / "b")
    assert CXRPipeline.from_pretrained(tmp_path / "b").model_hash == again.model_hash


@pytest.fixture(scope="module")
def saved(shared, tmp_path_factory):
    folder = tmp_path_factory.mktemp("pipeline")
    shared.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision(saved, dtype):
    half = CXRPipeline.from_pretrained(saved, torch_dtype=dtype)
    parts = (half.unet, half.vae, half.text_encoder)
    assert {p.dtype for part in parts for p in part.parameters()} == {dtype}
    images = draw(half, output_type="np").images
    whole = draw(CXRPipeline.from_pretrained(saved), output_type="np").images
    assert images.dtype == np.float32 and np.isfinite(images).all()
    assert np.abs(images - whole).max() < 0.1


def test_folders_that_are_no_model(saved, tmp_path):
    with pytest.raises(UserError, match=r"not a model folder \(model_index.json is missing\)"):
        CXRPipeline.from_pretrained(tmp_path)
    with pytest.raises(UserError, match="no such folder"):
        CXRPipeline.from_pretrained(tmp_path / "none" / "at" / "all")
    broken = tmp_path / "broken"
    shutil.copytree(saved, broken)
    weights = next((broken / "unet").glob("*.safetensors"))
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(UserError, match="broken/unet: not a usable UNet2DConditionModel"):
        CXRPipeline.from_pretrained(broken)


def test_a_stable_diffusion_folder_draws_what_diffusers_draws(stable_diffusion, tmp_path):
    theirs, folder = stable_diffusion
    ours = CXRPipeline.from_pretrained(folder)
    assert json.loads((folder / "model_index.json").read_text())["_class_name"] == "StableDiffusionPipeline"
    assert (ours.config.resolution, ours.config.name) == (16, "roentgen-like")
    noise = seeds.image_noise([3], (4, 8, 8))
    options = {"num_inference_steps": 3, "guidance_scale": 4.0, "latents": noise}
    expected = theirs(PROMPT, output_type="latent", **options).images
    torch.testing.assert_close(draw(ours, seed=3, guidance=4.0).images, expected, atol=1e-4, rtol=1e-3)
    with torch.no_grad():
        colour = theirs.vae.decode(expected / theirs.vae.config.scaling_factor).sample
    grey = draw(ours, seed=3, guidance=4.0, output_type="np").images
    np.testing.assert_allclose(grey, (colour.mean(dim=1) / 2 + 0.5).clamp(0, 1), atol=1e-4)
    ours.save_pretrained(tmp_path / "ours")
    again = CXRPipeline.from_pretrained(tmp_path / "ours")
    np.testing.assert_array_equal(draw(again, seed=3, guidance=4.0, output_type="np").images, grey)


def test_models_that_take_more_than_a_latent_are_refused(stable_diffusion, tmp_path):
    folder = tmp_path / "inpainting"
    shutil.copytree(stable_diffusion[1], folder)
    config = {name: value for name, value in stable_diffusion[0].unet.config.items() if not name.startswith("_")}
    shutil.rmtree(folder / "unet")
    UNet2DConditionModel(**{**config, "in_channels": 9}).save_pretrained(folder / "unet")
    with pytest.raises(UserError, match="its UNet takes 9 channels; only text-to-image models load"):
        CXRPipeline.from_pretrained(folder)
