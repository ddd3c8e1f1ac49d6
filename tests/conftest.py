"""A whole text-to-radiograph model at 32 px: the real classes, with random weights."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path

import pytest

RESOLUTION = 32


def pytest_configure(config):
    """Programs that tests start need not import torch again: tests/warm/plugin.py."""
    spec = importlib.util.spec_from_file_location("warm_plugin", Path(__file__).parent / "warm" / "plugin.py")
    plugin = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(plugin)
    config.pluginmanager.register(plugin)


def _random_pipeline(name="text"):
    import torch

    from gen.data.compose import prompt_corpus
    from gen.models.bone import BoneConditioner
    from gen.models.codec import LatentCodec
    from gen.models.denoiser import build_denoiser
    from gen.models.text import build_text_encoder, train_tokenizer
    from gen.objectives.diffusion import DiffusionObjective
    from gen.pipeline import CXRPipeline
    from gen.schema import DiffusionConfig, TextConfig, UNetConfig
    from gen.tasks import TASKS

    codec = LatentCodec(latent_channels=4, block_out_channels=(8, 8, 16), layers_per_block=(0, 1, 1))
    text = build_text_encoder(
        TextConfig(width=32, layers=1, heads=2, max_tokens=32), train_tokenizer(prompt_corpus(500))
    )
    unet = UNetConfig(block_out_channels=(32, 32), layers_per_block=1, attention_levels=(False, True), head_channels=16)
    task = TASKS[name](text, BoneConditioner(text.width, 0.5) if name == "bone" else None)
    side = RESOLUTION // codec.downsample_factor
    denoiser = build_denoiser(unet, 4, side, text.width, task.spatial_channels(4))
    # an untrained output layer is zero, and would make every prompt look the same
    torch.nn.init.normal_(denoiser.backbone.conv_out.weight, std=0.03)
    diffusion = DiffusionObjective(DiffusionConfig(prediction="v_prediction", schedule="scaled_linear"))
    return CXRPipeline.from_modules(codec.eval(), task.eval(), denoiser.eval(), diffusion.scheduler, RESOLUTION)


@pytest.fixture(scope="session")
def tiny_pipeline_dir(tmp_path_factory) -> Path:
    """A saved model folder; the same weights in every session."""
    import torch

    folder = tmp_path_factory.mktemp("model") / "tiny"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        _random_pipeline().save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_bone_dir(tmp_path_factory) -> Path:
    """A saved bone-suppression model; the same weights in every session."""
    import torch

    folder = tmp_path_factory.mktemp("model") / "tiny_bone"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        _random_pipeline("bone").save_pretrained(folder)
    return folder


@pytest.fixture
def tiny_pipeline(tiny_pipeline_dir):
    """A fresh pipeline of that folder; a test may change it."""
    from gen.pipeline import CXRPipeline

    return CXRPipeline.from_pretrained(tiny_pipeline_dir)


@pytest.fixture(scope="session")
def stable_diffusion_vae():
    """A tiny three-channel autoencoder of diffusers' own."""
    import torch
    from diffusers import AutoencoderKL

    with torch.random.fork_rng():
        torch.manual_seed(1)
        return AutoencoderKL(
            in_channels=3,
            out_channels=3,
            latent_channels=4,
            block_out_channels=(8, 16),
            layers_per_block=1,
            down_block_types=("DownEncoderBlock2D",) * 2,
            up_block_types=("UpDecoderBlock2D",) * 2,
            norm_num_groups=4,
            scaling_factor=0.7,
            sample_size=16,
        ).eval()


@pytest.fixture(scope="session")
def stable_diffusion(tmp_path_factory, stable_diffusion_vae):
    """A tiny text-to-image pipeline of diffusers' own classes, and the folder that they saved it into."""
    import torch
    from diffusers import DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    from gen.models.text import train_tokenizer

    corpus = ["PA chest radiograph of a 60-year-old man with cardiomegaly.", "AP view of a woman. No acute findings."]
    tokenizer = train_tokenizer(corpus)
    tokenizer.model_max_length = 24
    schedule = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    special = {"bos_token_id": 2, "eos_token_id": 3, "pad_token_id": 0}
    with torch.random.fork_rng():
        torch.manual_seed(2)
        text = CLIPTextConfig(vocab_size=len(tokenizer), max_position_embeddings=24, **sizes, **special)
        theirs = StableDiffusionPipeline(
            vae=stable_diffusion_vae,
            text_encoder=CLIPTextModel(text),
            tokenizer=tokenizer,
            unet=UNet2DConditionModel(
                sample_size=8,
                block_out_channels=(32, 32),
                layers_per_block=1,
                cross_attention_dim=16,
                down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
                up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
                attention_head_dim=2,
            ),
            scheduler=DDIMScheduler(**schedule, clip_sample=False, set_alpha_to_one=False, steps_offset=1),
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        )
    folder = tmp_path_factory.mktemp("stable") / "roentgen-like"
    theirs.save_pretrained(folder)
    theirs.set_progress_bar_config(disable=True)
    return theirs, folder


@pytest.fixture(scope="session")
def tiny_reader_dir(tmp_path_factory) -> Path:
    """An untrained reader of three findings at 32 px, saved."""
    import torch

    from gen.models.classifier import RadiographClassifier

    folder = tmp_path_factory.mktemp("judges") / "reader"
    with torch.random.fork_rng():
        torch.manual_seed(2)
        labels = ("No Finding", "Cardiomegaly", "Pleural Effusion")
        RadiographClassifier(labels, widths=(8, 16), blocks=(1, 1), features=12, resolution=32).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_lungs_dir(tmp_path_factory) -> Path:
    """An untrained segmenter at 32 px, saved."""
    import torch

    from gen.models.segmenter import ChestSegmenter

    folder = tmp_path_factory.mktemp("judges") / "lungs"
    with torch.random.fork_rng():
        torch.manual_seed(3)
        ChestSegmenter(widths=(4, 8), resolution=32).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_view_dir(tiny_pipeline_dir) -> Path:
    """The tiny model as a view model that heeds its context, saved beside it."""
    import torch

    from gen.models.denoiser import widened
    from gen.pipeline import CXRPipeline
    from gen.schema.tasks import ViewTaskConfig
    from gen.tasks import TASKS

    pipeline = CXRPipeline.from_pretrained(tiny_pipeline_dir)
    with torch.random.fork_rng():
        torch.manual_seed(4)
        shape = pipeline.vae.latent_shape(RESOLUTION)
        conditioner = TASKS["view"].new_conditioner(ViewTaskConfig(grid=2, hidden=8), shape, 32).eval()
        spatial = TASKS["view"](pipeline.task.text, conditioner).spatial_channels(shape[0])
        unet = widened(pipeline.unet, spatial)
        torch.nn.init.normal_(unet.conv_in.weight, std=0.1)
    pipeline.register_modules(unet=unet, conditioner=conditioner)
    pipeline.register_to_config(task="view", name="tiny-views")
    pipeline.save_pretrained(tiny_pipeline_dir.parent / "views")
    return tiny_pipeline_dir.parent / "views"


@pytest.fixture(scope="session")
def as_task() -> Callable[[Path, str, object, str], Path]:
    """Makes a saved text model one of another task: its folder, the task, the task's settings, a name -> folder."""
    return _as_task


@pytest.fixture(scope="session")
def tiny_temporal_dir(tiny_pipeline_dir, as_task) -> Path:
    """The tiny model as a temporal model that knows one drug, saved beside it."""
    from gen.schema.tasks import TemporalTaskConfig

    known = {"furosemide": {"unit": "mg", "centre": 40.0, "scale": 20.0}}
    settings = TemporalTaskConfig(width=16, layers=1, heads=2, registers=2, vocabulary=known)
    return as_task(tiny_pipeline_dir, "temporal", settings, "tiny-futures")


def _as_task(model: Path, task: str, settings: object, name: str) -> Path:
    """The tiny text model made one of another task, with new weights for what it lacks, saved beside it."""
    import torch

    from gen.models.denoiser import widened
    from gen.pipeline import CXRPipeline
    from gen.tasks import TASKS

    pipeline = CXRPipeline.from_pretrained(model)
    with torch.random.fork_rng():
        torch.manual_seed(5)
        shape = pipeline.vae.latent_shape(pipeline.config.resolution)
        conditioner = TASKS[task].new_conditioner(settings, shape, pipeline.task.text.width).eval()
        spatial = TASKS[task](pipeline.task.text, conditioner).spatial_channels(shape[0])
        unet = widened(pipeline.unet, spatial)
    pipeline.register_modules(unet=unet, conditioner=conditioner)
    pipeline.register_to_config(task=task, name=name)
    pipeline.save_pretrained(model.parent / name)
    return model.parent / name


@pytest.fixture
def view_pipeline(tiny_view_dir):
    """A fresh pipeline of that folder."""
    from gen.pipeline import CXRPipeline

    return CXRPipeline.from_pretrained(tiny_view_dir)
