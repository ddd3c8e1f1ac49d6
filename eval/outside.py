"""Feature networks of other people, each under its own preprocessing; packages are imported when they are asked for."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn

from gen.errors import UserError

from .networks import FeatureNetwork, Output, Standing

XRV_DEFAULT = "densenet121-res224-all"
XRV_SIDE, INCEPTION_SIDE = 224, 299  # pixels
CONVERT = "save its state_dict with safetensors.torch.save_file and give that file: pickles are not read"


@contextmanager
def asked_for(package: str, extra: str, what: str) -> Iterator[None]:
    """Turn a missing package and missing or damaged weights into one line with the remedy."""
    from safetensors import SafetensorError

    try:
        yield
    except ImportError as error:
        raise UserError(f"{what} needs {package} ({error}); install it with: pip install {extra}") from None
    except UserError:
        raise
    except (OSError, RuntimeError, ValueError, KeyError, SafetensorError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise UserError(
            f"{what}: not to be had ({reason}); give a local folder or file after the colon, or connect to the hub"
        ) from None


def huggingface(where: str) -> FeatureNetwork:
    """Any vision model of transformers: its pooled vector, or the class token where the pooler was never trained."""
    with asked_for("transformers", "transformers", f"--network hf:{where}"):
        from transformers import AutoImageProcessor, AutoModel

        _no_pickles(where)
        model, report = AutoModel.from_pretrained(where, output_loading_info=True, use_safetensors=True)
        processor = AutoImageProcessor.from_pretrained(where)
    missing = [key for key in report["missing_keys"] if "pooler" not in key]
    pooled = not any("pooler" in key for key in report["missing_keys"])
    warning = f"{len(missing)} of its weights are not in the files ({missing[0]}, ...)." if missing else ""
    side = _side(processor.size)
    crop = _side(processor.crop_size) if getattr(processor, "do_center_crop", False) else side
    normal = getattr(processor, "do_normalize", True)
    mean = tuple(processor.image_mean) if normal else (0.0,) * 3
    std = tuple(processor.image_std) if normal else (1.0,) * 3
    forward = lambda x: Output(_pooled(model, x, pooled))  # noqa: E731
    return FeatureNetwork(
        where, model, forward, "random" if missing else _standing(where), side, crop, mean, std, warning=warning
    )


def timm(where: str) -> FeatureNetwork:
    """Any model of timm by its name, or a folder written by timm's save_for_hf; logits where it has a linear head."""
    with asked_for("timm", "'cxr-gen[eval]'", f"--network timm:{where}"):
        import timm as package

        name = f"local-dir:{where}" if Path(where).is_dir() else where
        model = package.create_model(name, pretrained=True)
        data = package.data.resolve_model_data_config(model)
    crop = data["input_size"][-1]
    head = model.get_classifier()
    classes = head.out_features if isinstance(head, nn.Linear) else 0

    def forward(x: Tensor) -> Output:
        features = model.forward_head(model.forward_features(x), pre_logits=True)
        return Output(features, head(features) if classes else None)

    side = round(crop / data["crop_pct"])
    return FeatureNetwork(where, model, forward, _standing(where), side, crop, data["mean"], data["std"], classes)


def open_clip(where: str) -> FeatureNetwork:
    """The image tower of any open_clip model: hf-hub:NAME, or a folder with open_clip_config.json."""
    with asked_for("open_clip_torch", "open-clip-torch", f"--network open_clip:{where}"):
        import open_clip as package

        name = f"local-dir:{where}" if Path(where).is_dir() else where
        model = package.create_model_from_pretrained(name, return_transform=False)
        settings = model.visual.preprocess_cfg
    side = settings["size"] if isinstance(settings["size"], int) else settings["size"][0]
    forward = lambda x: Output(model.encode_image(x))  # noqa: E731
    return FeatureNetwork(
        where, model.visual, forward, _standing(where), side, side, tuple(settings["mean"]), tuple(settings["std"])
    )


def xrv(where: str) -> FeatureNetwork:
    """A DenseNet-121 of torchxrayvision, fed -1024..1024 as it was trained; by weight name or a safetensors file."""
    where = where or XRV_DEFAULT
    with asked_for("torchxrayvision", "'cxr-gen[eval]'", f"--network xrv:{where}"):
        import torchxrayvision as package

        if Path(where).suffix:
            model = package.models.DenseNet(weights=None, apply_sigmoid=False)
            model.load_state_dict(_weights(where), strict=False)
        else:
            model = package.models.DenseNet(weights=where)
    full = 1024.0  # what the package calls the range of its images: brightness 0..1 becomes -1024..1024
    forward = lambda x: Output(model.features2(x))  # noqa: E731
    return FeatureNetwork(
        f"torchxrayvision {where}", model, forward, _standing(where), XRV_SIDE, XRV_SIDE, (0.5,), (0.5 / full,)
    )


def inception(where: str) -> FeatureNetwork:
    """Inception v3 of the original FID (2,048 features) by torch-fidelity, as torchmetrics has it, or a file."""
    with asked_for("torch-fidelity", "torch-fidelity", f"--network inception:{where}"):
        from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

        weights = None
        if where:
            weights = io.BytesIO()  # the class reads a stream of torch's own format only
            torch.save(_weights(where), weights)
            weights.seek(0)
        model = FeatureExtractorInceptionV3("inception", ["2048", "logits_unbiased"], weights)

    def forward(x: Tensor) -> Output:
        return Output(*model(x.round().clamp(0, 255).to(torch.uint8).expand(-1, 3, -1, -1)))

    name = f"Inception v3 {where}".strip()
    byte = 1 / 255
    side, classes = INCEPTION_SIDE, model.fc.out_features
    return FeatureNetwork(name, model, forward, _standing(where), side, side, (0.0,), (byte,), classes)


SHORT = {"rad-dino": "hf:microsoft/rad-dino"}
SHORT |= {"biomedclip": "open_clip:hf-hub:microsoft/BiomedCLIP-PubMedBERT_256-vit_base_patch16_224"}
OUTSIDE: dict[str, Callable[[str], FeatureNetwork]] = {
    "hf": huggingface,
    "timm": timm,
    "open_clip": open_clip,
    "xrv": xrv,
    "inception": inception,
}


def _pooled(model: nn.Module, images: Tensor, trained_pooler: bool) -> Tensor:
    """One vector an image, whatever the family. Shapes: [B, 3, S, S] -> [B, D]."""
    if hasattr(model, "get_image_features"):
        features = model.get_image_features(pixel_values=images)
        return getattr(features, "pooler_output", features)
    output = model(pixel_values=images)
    if trained_pooler and getattr(output, "pooler_output", None) is not None:
        return output.pooler_output.flatten(1)
    states = output.last_hidden_state
    return states[:, 0] if states.ndim == 3 else states.mean(dim=(2, 3))


def _weights(where: str) -> dict[str, Tensor]:
    from safetensors.torch import load_file

    path = Path(where)
    if path.suffix != ".safetensors":
        raise UserError(f"{path}: not a safetensors file; {CONVERT}")
    if not path.is_file():
        raise UserError(f"{path}: no such weights file; correct the path")
    return load_file(path)


def _no_pickles(where: str) -> None:
    folder = Path(where)
    if folder.is_dir() and not list(folder.glob("*.safetensors")):
        raise UserError(f"{folder}: no safetensors weights in this folder; {CONVERT}")


def _standing(where: str) -> Standing:
    return "own" if Path(where or "-").exists() else "published"


def _side(size: object) -> int:
    """A processor's size, which may be a number, a mapping with height, or one with the shortest edge."""
    if isinstance(size, int):
        return size
    values = size if isinstance(size, dict) else vars(size)
    return int(values.get("height") or values.get("shortest_edge"))
