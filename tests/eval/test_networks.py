"""Every kind of feature network, loaded by the code that users meet, from tiny models saved by the same classes."""

import json

import numpy as np
import pytest
import torch

from gen.errors import UserError
from gen.eval.networks import FeatureNetwork, Output, RandomNetwork, digest, load_network, shuffled_tiles

SIDE = 32


def images(side, count=2):
    return torch.rand(count, 1, side, side, generator=torch.Generator().manual_seed(0)) * 2 - 1


def save_processor(folder, kind, size, mean=0.5, std=0.25, crop=None):
    settings = {"image_processor_type": kind, "size": {"height": size, "width": size}, "do_normalize": True}
    settings |= {"image_mean": [mean] * 3, "image_std": [std] * 3, "do_resize": True}
    if crop:
        settings |= {"do_center_crop": True, "crop_size": {"height": crop, "width": crop}}
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))


@pytest.fixture(scope="module")
def dino(tmp_path_factory):
    """The architecture of RAD-DINO, a thousandth of its size."""
    from transformers import Dinov2Config, Dinov2Model

    folder = tmp_path_factory.mktemp("dino")
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": SIDE, "patch_size": 8}
    Dinov2Model(Dinov2Config(**sizes)).save_pretrained(folder)
    save_processor(folder, "BitImageProcessor", 36, mean=0.53, std=0.26, crop=SIDE)
    return folder


def test_huggingface_model_with_its_own_preprocessing(dino):
    from transformers import Dinov2Model

    network = load_network(f"hf:{dino}")
    assert (network.side, network.crop, network.mean, network.std) == (36, SIDE, (0.53,) * 3, (0.26,) * 3)
    assert network.standing == "own"
    batch = images(36)
    cropped = ((batch[..., 2:34, 2:34] + 1) / 2 - 0.53) / 0.26
    with torch.no_grad():
        expected = Dinov2Model.from_pretrained(dino).eval()(cropped.expand(-1, 3, -1, -1)).pooler_output
    assert torch.allclose(network(batch).features, expected, atol=1e-5)


def test_rad_dino_is_that_code_under_its_name(dino, monkeypatch):
    from gen.eval import outside

    assert outside.SHORT["rad-dino"] == "hf:microsoft/rad-dino"
    monkeypatch.setitem(outside.SHORT, "rad-dino", f"hf:{dino}")
    assert load_network("rad-dino").fingerprint == load_network(f"hf:{dino}").fingerprint


def test_a_pooler_that_was_never_trained_is_not_used(tmp_path):
    from transformers import ViTConfig, ViTModel

    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": SIDE, "patch_size": 8}
    model = ViTModel(ViTConfig(**sizes), add_pooling_layer=False).eval()
    model.save_pretrained(tmp_path)
    save_processor(tmp_path, "ViTImageProcessor", SIDE)
    network = load_network(f"hf:{tmp_path}")
    with torch.no_grad():
        expected = model(network.prepared(images(SIDE)).expand(-1, 3, -1, -1)).last_hidden_state[:, 0]
    assert torch.allclose(network(images(SIDE)).features, expected, atol=1e-5)


def test_weights_that_are_missing_make_a_network_random(tmp_path):
    from safetensors.torch import load_file, save_file
    from transformers import ViTConfig, ViTModel

    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": SIDE, "patch_size": 8}
    ViTModel(ViTConfig(**sizes)).save_pretrained(tmp_path)
    save_processor(tmp_path, "ViTImageProcessor", SIDE)
    weights = load_file(tmp_path / "model.safetensors")
    kept = {name: value for name, value in weights.items() if "layer.1" not in name}
    assert len(kept) < len(weights)
    save_file(kept, tmp_path / "model.safetensors", metadata={"format": "pt"})
    network = load_network(f"hf:{tmp_path}")
    assert network.standing == "random"
    assert "RANDOM" in network.remark and "not in the files" in network.remark


def test_clip_models_give_their_image_features(tmp_path):
    from transformers import CLIPConfig, CLIPModel

    small = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    vision, text = small | {"image_size": SIDE, "patch_size": 8}, small | {"vocab_size": 50}
    CLIPModel(CLIPConfig(vision_config=vision, text_config=text, projection_dim=8)).save_pretrained(tmp_path)
    save_processor(tmp_path, "CLIPImageProcessor", SIDE)
    assert load_network(f"hf:{tmp_path}")(images(SIDE)).features.shape == (2, 8)


def test_timm_model_with_features_and_logits(tmp_path):
    timm = pytest.importorskip("timm")
    model = timm.create_model("test_resnet", pretrained=False, num_classes=7).eval()
    timm.models.save_for_hf(model, tmp_path, safe_serialization=True)
    network = load_network(f"timm:{tmp_path}")
    output = network(images(network.side))
    assert output.features.shape == (2, model.num_features)
    assert output.logits.shape == (2, network.classes) == (2, 7)
    with torch.no_grad():
        expected = model(network.prepared(images(network.side)).expand(-1, 3, -1, -1))
    assert torch.allclose(output.logits, expected, atol=1e-5)


def test_open_clip_model_by_its_image_tower(tmp_path):
    open_clip = pytest.importorskip("open_clip")
    from safetensors.torch import save_file

    tower = {"image_size": SIDE, "layers": 1, "width": 16, "head_width": 8, "patch_size": 8}
    text = {"context_length": 8, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1}
    settings = {"embed_dim": 8, "vision_cfg": tower, "text_cfg": text}
    model = open_clip.model.CLIP(**settings).eval()
    save_file(model.state_dict(), tmp_path / "open_clip_model.safetensors")
    normal = {"mean": [0.48, 0.46, 0.41], "std": [0.27, 0.26, 0.28]}
    (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": settings, "preprocess_cfg": normal}))
    network = load_network(f"open_clip:{tmp_path}")
    assert network.mean == (0.48, 0.46, 0.41) and network.side == SIDE
    with torch.no_grad():
        expected = model.encode_image(network.prepared(images(SIDE)))
    assert torch.allclose(network(images(SIDE)).features, expected, atol=1e-5)


def test_xrv_is_fed_its_own_range(tmp_path):
    xrv = pytest.importorskip("torchxrayvision")
    from safetensors.torch import save_file

    model = xrv.models.DenseNet(weights=None).eval()
    save_file(model.state_dict(), tmp_path / "densenet.safetensors")
    network = load_network(f"xrv:{tmp_path / 'densenet.safetensors'}")
    assert network.side == 224
    ramp = torch.linspace(-1, 1, 224).expand(1, 1, 224, 224)
    fed = network.prepared(ramp)
    theirs = xrv.datasets.normalize((ramp[0, 0].numpy() + 1) * 127.5, 255)
    assert np.allclose(fed[0, 0].numpy(), theirs, atol=0.01)
    with torch.no_grad():
        assert torch.allclose(network(ramp).features, model.features2(fed), atol=1e-4)


def test_inception_of_torch_fidelity_from_safetensors(tmp_path):
    module = pytest.importorskip("torch_fidelity.feature_extractor_inceptionv3")
    from safetensors.torch import save_file

    blank = module.FeatureExtractorInceptionV3.__new__(module.FeatureExtractorInceptionV3)
    weights = {}
    with pytest.MonkeyPatch.context() as patch:  # the class cannot be made without a download
        patch.setattr(module, "load_state_dict_from_url", lambda *_, **__: weights)
        patch.setattr(module.nn.Module, "load_state_dict", lambda self, _: weights.update(self.state_dict()))
        module.FeatureExtractorInceptionV3.__init__(blank, "inception", ["2048", "logits_unbiased"])
    save_file({name: value.contiguous() for name, value in weights.items()}, tmp_path / "inception.safetensors")
    network = load_network(f"inception:{tmp_path / 'inception.safetensors'}")
    batch = images(299)
    output = network(batch)
    assert output.features.shape == (2, 2048) and output.logits.shape == (2, 1008)
    expected = blank(((batch + 1) * 127.5).round().to(torch.uint8).expand(-1, 3, -1, -1))
    assert torch.allclose(output.features, expected[0], atol=1e-4)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("resnet", "unknown; one of reader"),
        ("hf:/nowhere/at/all", "not to be had"),
        ("timm:no_such_model", "not to be had"),
        ("open_clip:no_such_model", "not to be had"),
        ("xrv:weights.pt", "not a safetensors file"),
        ("xrv:weights.safetensors", "no such weights file"),
        ("inception:weights.pth", "pickles are not read"),
        ("reader:/nowhere", "no RadiographClassifier here"),
    ],
)
def test_what_cannot_be_had_is_said_in_one_line(name, message):
    with pytest.raises(UserError, match=message) as refused:
        load_network(name)
    assert "\n" not in str(refused.value)


def test_a_folder_of_pickles_is_refused(tmp_path):
    (tmp_path / "pytorch_model.bin").write_bytes(b"whatever")
    with pytest.raises(UserError, match="no safetensors weights in this folder"):
        load_network(f"hf:{tmp_path}")


def test_a_missing_package_names_its_extra(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "torchxrayvision", None)
    with pytest.raises(UserError, match=r"needs torchxrayvision .* pip install 'cxr-gen\[eval\]'"):
        load_network("xrv")


def network_of(module, **changes):
    settings = {"side": 64, "crop": 64, **changes}
    return FeatureNetwork("n", module, lambda x: Output(module(x)), "random", **settings)


def test_weights_and_preprocessing_are_the_fingerprint():
    same = network_of(RandomNetwork(seed=1)).fingerprint
    assert network_of(RandomNetwork(seed=1)).fingerprint == same
    others = [
        network_of(RandomNetwork(seed=2)),
        network_of(RandomNetwork(seed=1), std=(0.25,)),
        network_of(RandomNetwork(seed=1), crop=56),
        network_of(RandomNetwork(seed=1)).in_pieces(),
    ]
    assert len({same, *(other.fingerprint for other in others)}) == 5
    assert digest(RandomNetwork(seed=1)) != digest(RandomNetwork(seed=2))


def test_features_that_are_no_numbers_are_refused():
    module = RandomNetwork()
    module.layers[0].bias.data.fill_(float("nan"))
    with pytest.raises(UserError, match="weights are damaged"):
        network_of(module)(images(64))


def test_tiles_keep_the_pixels_and_lose_the_picture():
    batch = images(SIDE)
    broken = shuffled_tiles(batch, 4)
    assert not torch.equal(broken, batch)
    assert torch.equal(broken.flatten(1).sort()[0], batch.flatten(1).sort()[0])
