"""Configs: strict, overridable, and errors that name the file, the field and the remedy."""

import time
from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from gen.config import changed_fields, config_hash, load_config, save_config
from gen.errors import UserError
from gen.schema import DiffusionConfig, LatentJob

TEXT = {
    "run": "runs/a",
    "codec": "codec",
    "data": {"index": "index.csv", "resolution": 64},
    "text": {},
    "denoiser": {"kind": "unet", "block_out_channels": [32, 64], "attention_levels": [False, True]},
    "task": {"name": "text"},
    "objective": {"prediction": "v_prediction", "schedule": "linear"},
    "train": {"steps": 10, "batch_size": 2, "learning_rate": 0.001, "lr_schedule": "constant"},
}


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / "text.yaml"
    path.write_text(yaml.safe_dump(TEXT))
    return path


def test_no_half_precision_can_be_written_as_a_word(recipe):
    assert load_config(LatentJob, recipe, ["train.mixed_precision=no"]).train.mixed_precision == "no"


def test_overrides_have_the_types_of_yaml(recipe):
    job = load_config(
        LatentJob,
        recipe,
        [
            "train.learning_rate=1e-4",
            "train.clip_norm=2E+1",
            "denoiser.block_out_channels=[96,192,384]",
            "denoiser.attention_levels=[false, true, true]",
            "data.moments=store",
            "data.may_ship_only=true",
            "text.model=some/encoder=odd",
            "objective.min_snr_gamma=5",
            "train.minutes=null",
        ],
    )
    assert job.train.learning_rate == 1e-4 and job.train.clip_norm == 20.0
    assert job.denoiser.block_out_channels == (96, 192, 384)
    assert job.denoiser.attention_levels == (False, True, True)
    assert job.data.moments == Path("store") and job.data.may_ship_only is True
    assert job.text.model == "some/encoder=odd"
    assert job.objective.min_snr_gamma == 5.0 and job.train.minutes is None


def test_overrides_make_sections_and_exchange_whole_ones(recipe):
    transformer = "denoiser={kind: transformer, layers: 2, heads: 3}"
    job = load_config(LatentJob, recipe, [transformer, "denoiser.patch=2"])
    assert (job.denoiser.kind, job.denoiser.layers, job.denoiser.patch) == ("transformer", 2, 2)


@pytest.mark.parametrize("number", ["1e-4", "1E-4", "1.e-4", ".5e-3", "+2e3", "-1e1", "3.5"])
def test_floats_are_read_as_floats(recipe, number):
    """YAML 1.1 takes 1e-4 for text."""
    recipe.write_text(recipe.read_text().replace("weight_decay: 0.01", "") + f"\nvalidation_prompts: ['{number}']\n")
    text = recipe.read_text().replace("learning_rate: 0.001", f"learning_rate: {number}")
    recipe.write_text(text)
    if float(number) > 0:
        assert load_config(LatentJob, recipe).train.learning_rate == float(number)
    else:
        with pytest.raises(UserError, match="train.learning_rate: .*greater than 0"):
            load_config(LatentJob, recipe)


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["train.learning_rat=1"], "unknown key 'train.learning_rat'; remove it"),
        (["denoiser.widths=1"], "unknown key 'denoiser.widths'; remove it"),
        (["denoiser={kind: unet, attention_levels: [true]}"], "missing key 'denoiser.block_out_channels'; add it"),
        (["denoiser={kind: gan}"], "denoiser: "),
        (["train.steps=0"], "train.steps: "),
        (["train.steps=many"], "train.steps: .* \\(got 'many'\\)"),
        (["task.drop=1.5"], "task.drop: .* \\(got 1.5\\)"),
        (["data=5"], "data: "),
        (["text.max_tokens=0"], "text.max_tokens: "),
        (["objective.prediction=noise"], "objective.prediction: .*epsilon"),
        (
            ["objective.prediction=epsilon", "objective.zero_terminal_snr=true"],
            "objective: zero_terminal_snr needs prediction v_prediction or sample",
        ),
    ],
)
def test_problems_name_file_field_and_remedy(recipe, overrides, said):
    with pytest.raises(UserError, match=said) as error:
        load_config(LatentJob, recipe, overrides)
    assert str(error.value).startswith(f"{recipe}: ") and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("steps", "write it as key.path=value"),
        ("=5", "write it as key.path=value"),
        ("run.folder=5", "run is a value, not a section"),
        ("denoiser.block_out_channels=[32,64", "not a YAML value; mend its brackets"),
    ],
)
def test_malformed_overrides_are_quoted(recipe, override, said):
    with pytest.raises(UserError, match=said) as error:
        load_config(LatentJob, recipe, [override])
    assert repr(override) in str(error.value)


@pytest.mark.parametrize(
    ("content", "said"), [(b"a: [1", "not valid YAML"), (b"\x89PNG\xff\xfe", "not valid YAML"), (b"- 1\n", "table of")]
)
def test_files_that_are_no_config(tmp_path, content, said):
    path = tmp_path / "broken.yaml"
    path.write_bytes(content)
    with pytest.raises(UserError, match=said) as error:
        load_config(LatentJob, path)
    assert str(error.value).startswith(str(path))
    with pytest.raises(UserError, match="no such config file; recipes are in configs/"):
        load_config(LatentJob, tmp_path / "none.yaml")


def test_a_saved_config_loads_as_itself(recipe, tmp_path):
    job = load_config(LatentJob, recipe, ["train.learning_rate=1e-7", "objective.min_snr_gamma=5"])
    save_config(job, tmp_path / "saved.yaml")
    again = load_config(LatentJob, tmp_path / "saved.yaml")
    assert again == job and config_hash(again) == config_hash(job)


def test_configs_are_frozen(recipe):
    job = load_config(LatentJob, recipe)
    with pytest.raises(ValidationError):
        job.train.steps = 3


def test_hash_sees_values_and_not_their_order(recipe):
    job = load_config(LatentJob, recipe)
    recipe.write_text(yaml.safe_dump(dict(reversed(TEXT.items())), sort_keys=False))
    assert config_hash(load_config(LatentJob, recipe)) == config_hash(job)
    assert config_hash(load_config(LatentJob, recipe, ["train.seed=1"])) != config_hash(job)
    objective = DiffusionConfig(prediction="sample", schedule="linear")
    assert config_hash(objective) == config_hash(objective.model_copy()) and len(config_hash(objective)) == 12


def test_changed_fields_are_those_that_change_the_result(recipe):
    def dumped(*overrides):
        return load_config(LatentJob, recipe, overrides).model_dump(mode="json")

    old = dumped()
    assert changed_fields(old, dumped()) == []
    free = ["run=b", "train.log_every=3", "data.workers=2", "data.moments=m", "train.minutes=4"]
    assert changed_fields(old, dumped(*free)) == []
    changes = ["train.learning_rate=0.1", "denoiser.block_out_channels=[64,64]", "data.resolution=32", "task.drop=0"]
    expected = ["data.resolution", "denoiser.block_out_channels", "task.drop", "train.learning_rate"]
    assert changed_fields(old, dumped(*changes)) == expected
    assert changed_fields(old, dumped("initialise_from=model")) == ["initialise_from"]
    assert changed_fields({"a": 1}, {"b": 2}) == ["a", "b"]
    assert changed_fields({"codec": {"kind": "dc"}}, {"codec": {"kind": "kl"}}) == ["codec.kind"]


def test_a_deeply_nested_recipe_is_refused_at_once(tmp_path):
    path = tmp_path / "deep.yaml"
    path.write_text("a: " + "[" * 100_000)
    began = time.process_time()
    with pytest.raises(UserError, match=r"deep\.yaml: not valid YAML \(brackets nested deeper than 64"):
        load_config(LatentJob, path)
    with pytest.raises(UserError, match="is not a YAML value"):
        load_config(LatentJob, Path(__file__).parents[1] / "configs" / "tiny_text.yaml", ["run=" + "[" * 100_000])
    assert time.process_time() - began < 2
