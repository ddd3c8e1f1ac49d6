"""Model folders that try to run code, or lie about their weights: one clear error, and nothing executed."""

import io
import json
import pickle
import shutil
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from gen.errors import UserError
from gen.models.loading import COMPONENTS, OPTIONAL
from gen.pipeline import CXRPipeline

EVIL = "from pathlib import Path\nPath({mark!r}).write_text('executed')\n"
EVIL += (
    "from diffusers import *\nfrom diffusers import UNet2DConditionModel as Evil, DiffusionPipeline as EvilPipeline\n"
)
ON_SYSTEMS = ("pipeline", "evil", "modeling_evil", "unet/evil", "vae/evil", "text_encoder/modeling_evil")
ON_SYSTEMS += ("tokenizer/evil", "text_encoder/evil")


class Bomb:
    """Leaves a file when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return Path.write_text, (self.mark, "executed")


@pytest.fixture
def mark(tmp_path) -> Path:
    """The file that executed code would leave."""
    return tmp_path / "executed"


@pytest.fixture
def hostile(tiny_pipeline_dir, tmp_path, mark, monkeypatch) -> Path:
    """A good model folder full of Python files and pickles, in which one even stands and which is on the path."""
    folder = tmp_path / "model"
    shutil.copytree(tiny_pipeline_dir, folder)
    for name in ON_SYSTEMS:
        (folder / f"{name}.py").write_text(EVIL.format(mark=str(mark)))
    for part in ("unet", "vae", "text_encoder"):
        (folder / part / "pytorch_model.bin").write_bytes(pickle.dumps(Bomb(mark)))
        (folder / part / "diffusion_pytorch_model.bin").write_bytes(pickle.dumps(Bomb(mark)))
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n" * 20))  # whoever is asked whether to trust the code says yes
    yield folder
    assert not mark.exists(), "code of the folder ran"
    assert not {"pipeline", "evil", "modeling_evil"} & set(sys.modules)


def change(path: Path, **values: object) -> None:
    """Set keys of a JSON file; None removes one."""
    settings = {**json.loads(path.read_text()), **values}
    path.write_text(json.dumps({name: value for name, value in settings.items() if value is not None}))


def refused(folder: Path, words: str) -> None:
    with pytest.raises(UserError, match=words) as caught:
        CXRPipeline.from_pretrained(folder)
    assert len(str(caught.value)) < 600 and str(folder) in str(caught.value)


def test_python_files_and_pickles_lie_untouched(hostile):
    assert CXRPipeline.from_pretrained(hostile)("PA chest radiograph.", steps=1, progress=False).images


NOT_OURS = (
    ["evil", "Evil"],
    ["os", "system"],
    ["builtins", "eval"],
    ["torch.hub", "load"],
    ["transformers", "pipeline"],
)
NOT_OURS += (["diffusers", "StableDiffusionPipeline"], ["diffusers", "Evil"], [None, None], "evil", [["evil"], {}], 7)


@pytest.mark.parametrize("component", sorted(COMPONENTS))
def test_classes_of_others_are_refused(hostile, component):
    for named in NOT_OURS:
        if component in OPTIONAL and named == [None, None]:
            continue  # there is none
        change(hostile / "model_index.json", **{component: named})
        refused(hostile, "is refused|names no class")


@pytest.mark.parametrize("name", [["pipeline", "EvilPipeline"], ["evil", "EvilPipeline"], None, 3])
def test_pipelines_with_code_are_refused(hostile, name):
    change(hostile / "model_index.json", _class_name=name)
    refused(hostile, "pipelines with code of their own are refused")


def test_other_pipelines_load_classes_of_ours_or_nothing(hostile):
    change(hostile / "model_index.json", _class_name="EvilPipeline", unet=["evil", "Evil"])
    refused(hostile, r"unet of class evil.Evil is refused")


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder", "tokenizer"])
def test_auto_map_is_not_followed(hostile, part):
    names = ("AutoConfig", "AutoModel", "AutoTokenizer", "UNet2DConditionModel", "AutoencoderKL")
    auto = {name: "evil.Evil" for name in names} | {"AutoTokenizer": ["evil.Evil", "evil.Evil"]}
    path = hostile / part / ("tokenizer_config.json" if part == "tokenizer" else "config.json")
    change(path, auto_map=auto, custom_pipelines={"x": {"impl": "evil.Evil"}}, trust_remote_code=True)
    assert CXRPipeline.from_pretrained(hostile)("PA chest radiograph.", steps=1, progress=False).images


def test_a_tokenizer_with_code_is_refused(hostile):
    auto = {"AutoTokenizer": ["evil.Evil", "evil.Evil"]}
    change(hostile / "tokenizer" / "tokenizer_config.json", tokenizer_class="Evil", auto_map=auto)
    (hostile / "tokenizer" / "config.json").write_text(
        json.dumps({"model_type": "x", "auto_map": {"AutoConfig": "evil.Evil"}})
    )
    refused(hostile, "tokenizer class 'Evil' is none of")


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder"])
def test_pickled_weights_are_refused(hostile, mark, part):
    for suffix in (".safetensors", ".bin", ".pt", ".ckpt"):
        for path in (hostile / part).glob("*.*"):
            if path.suffix not in (".json", ".py"):
                path.unlink()
        (hostile / part / f"weights{suffix}").write_bytes(pickle.dumps(Bomb(mark)))
        refused(
            hostile, "not a usable" if suffix == ".safetensors" else f"weights{suffix}: pickled weights are refused"
        )


def test_a_pickle_under_the_name_of_safetensors(hostile, mark):
    weights = next((hostile / "unet").glob("*.safetensors"))
    weights.write_bytes(pickle.dumps(Bomb(mark)))
    refused(hostile, "not a usable UNet2DConditionModel")


def test_an_adapter_that_names_another_model_is_refused(hostile):
    (hostile / "text_encoder" / "adapter_config.json").write_text('{"base_model_name_or_path": "evil/model"}')
    refused(hostile, "holds an adapter")


@pytest.mark.parametrize(
    ("part", "setting"),
    [
        ("text_encoder", {"_attn_implementation": "evil/kernels"}),
        ("text_encoder", {"attn_implementation": "evil/kernels:run"}),
        ("text_encoder", {"quantization_config": {"quant_method": "evil"}}),
        ("unet", {"quantization_config": {"quant_method": "evil"}}),
        ("unet", {"block_out_channels": [2**40, 2**40]}),
        ("unet", {"layers_per_block": 10**9}),
        ("unet", {"block_out_channels": [32] * 100_000}),
        ("vae", {"latent_channels": 10**12}),
        ("text_encoder", {"num_hidden_layers": 10**9}),
        ("text_encoder", {"vocab_size": 10**12}),
    ],
    ids=str,
)
def test_settings_that_load_code_or_fill_the_memory_are_refused(hostile, part, setting):
    change(hostile / part / "config.json", **setting)
    refused(hostile, "is refused")


@pytest.mark.parametrize(
    "setting", [{"mid_block_scale_factor": "1"}, {"norm_eps": {"a": 1}}, {"dropout": [0.1]}], ids=str
)
def test_text_where_a_number_belongs_is_refused_before_anything_is_drawn(hostile, setting):
    change(hostile / "unet" / "config.json", **setting)
    refused(hostile, "is no number")


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder"])
@pytest.mark.parametrize("damage", ["nan", "shape", "absent", "dtype"])
def test_wrong_weights_are_named(hostile, part, damage):
    path = next((hostile / part).glob("*.safetensors"))
    tensors = load_file(path)
    name = next(name for name, tensor in tensors.items() if tensor.is_floating_point() and tensor.ndim > 1)
    if damage == "nan":
        tensors[name].view(-1)[3] = torch.nan
    elif damage == "shape":
        tensors[name] = tensors[name][:-1].clone()
    elif damage == "dtype":
        tensors[name] = torch.full_like(tensors[name], 1e300, dtype=torch.float64)  # infinite once it is float32
    else:
        del tensors[name]
    save_file(tensors, path, metadata={"format": "pt"})
    refused(hostile, "no numbers" if damage in ("nan", "dtype") else "lack|shape")
