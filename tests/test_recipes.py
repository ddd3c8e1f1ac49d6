"""Every recipe is valid, short and says how it is run."""

import re
import runpy
from pathlib import Path

import pytest

from gen.config import load_config
from gen.models.codec import LatentCodec
from gen.schema import CodecJob, LatentJob, TextEncoderJob

CONFIGS = Path(__file__).parent.parent / "configs"
JOBS = runpy.run_path(str(CONFIGS.parent / "docs" / "generate.py"))["jobs"]()
LAUNCH = r"# accelerate launch (?:--config_file configs/accelerate/\w+\.yaml )?(train/\w+\.py) (\S+)"
EVALUATE = r"# (cxr-eval \w+) .*--config (\S+)"
RECIPES = sorted([*CONFIGS.glob("*.yaml"), *CONFIGS.glob("reference/*.yaml")])


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_recipe_is_valid_and_opens_with_its_command(path):
    command = re.match(LAUNCH, path.read_text()) or re.match(EVALUATE, path.read_text())
    assert command, f"{path}: open with the command that runs it"
    assert command[2] == f"configs/{path.relative_to(CONFIGS).as_posix()}"
    load_config(JOBS[command[1]], path)
    assert len(path.read_text().splitlines()) <= 60


@pytest.mark.parametrize("name", ["vae_256", "vae_kl_f8"])
def test_codecs_of_the_recipes_are_light(name):
    job = load_config(CodecJob, CONFIGS / f"{name}.yaml")
    codec = LatentCodec(**job.codec.model_dump())
    assert sum(parameter.numel() for parameter in codec.parameters()) < 6e6


def test_the_shipped_recipes_hand_on_to_one_another():
    text = load_config(TextEncoderJob, CONFIGS / "text_encoder.yaml")
    model = load_config(LatentJob, CONFIGS / "text_256.yaml")
    assert Path(model.text.model) == text.run / "export"
    assert model.text.max_tokens == text.text.max_tokens


def test_the_decoder_recipe_continues_the_codec_recipe():
    first, second = (load_config(CodecJob, CONFIGS / name) for name in ("vae_256.yaml", "vae_256_decoder.yaml"))
    own = {"decoder_channels", "decoder_layers", "decoder_patch"}
    assert first.codec.model_dump(exclude=own) == second.codec.model_dump(exclude=own)
    assert second.initialise_from == first.run / "export"
