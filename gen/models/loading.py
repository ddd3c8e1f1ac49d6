"""Models from folders: classes by name from closed lists, weights from safetensors, errors that name the folder.

Nothing here imports a module that a folder names, follows its `auto_map` or reads a pickle.
"""

from __future__ import annotations

import hashlib
from collections.abc import Container, Sequence
from pathlib import Path
from typing import TypeVar

import torch
from diffusers import (
    AutoencoderKL,
    ModelMixin,
    PixArtTransformer2DModel,
    SchedulerMixin,
    UNet2DConditionModel,
)
from diffusers.configuration_utils import FrozenDict
from safetensors.torch import load_file

from gen.errors import UserError
from gen.models.bone import BoneConditioner
from gen.models.codec import LatentCodec
from gen.models.differences import DIFFERENCE, restored
from gen.models.events import EventsEncoder
from gen.models.folders import check_loaded, component_settings, read_settings, refuse_pickles, said_plainly
from gen.models.pixels import named_pixel_codec
from gen.models.text import ENCODERS, load_text_encoder
from gen.models.views import ViewEncoder
from gen.schedulers import OURS, SCHEDULERS

Model = TypeVar("Model", bound=ModelMixin)
HUB_FILES = ["*.json", "*.safetensors", "*.txt", "*.model", "*.md"]
UNETS: dict[str, type[ModelMixin]] = {kind.__name__: kind for kind in (UNet2DConditionModel, PixArtTransformer2DModel)}
# what a task adds to its text encoder, saved beside the denoiser; module -> classes
CONDITIONERS: dict[str, dict[str, type[ModelMixin]]] = {
    "gen.models.bone": {"BoneConditioner": BoneConditioner},
    "gen.models.events": {"EventsEncoder": EventsEncoder},
    "gen.models.views": {"ViewEncoder": ViewEncoder},
}
# component -> library -> classes that a model_index.json may name; what is loaded comes from the dicts, not the name
COMPONENTS: dict[str, dict[str, set[str]]] = {
    "vae": {"gen.models.codec": {"LatentCodec"}, "diffusers": {"AutoencoderKL"}},
    "unet": {"diffusers": set(UNETS)},
    "scheduler": {"diffusers": set(SCHEDULERS) - OURS, "gen.schedulers": OURS},
    "text_encoder": {"transformers": {kind.__name__ for kind in ENCODERS.values()}},
    "conditioner": {module: set(kinds) for module, kinds in CONDITIONERS.items()},
}
OPTIONAL = {"conditioner"}
# settings that a model_index.json holds besides, with their types and least values
SETTINGS = {"task": (str, None), "name": (str, None), "mask_padding": (bool, None), "guidance": (int | float, 0)}
SETTINGS |= {name: (int, 1) for name in ("resolution", "max_tokens", "steps")}


def check_components(folder: Path, index: dict) -> None:
    """Raise UserError where a model_index.json names a class that is not of ours, before anything is loaded."""
    if not isinstance(index.get("_class_name"), str):
        raise UserError(f"{folder}: pipelines with code of their own are refused (_class_name in model_index.json)")
    for name, libraries in COMPONENTS.items():
        said = index.get(name)
        if name in OPTIONAL and said in (None, [None, None]):
            continue
        if not (isinstance(said, list) and len(said) == 2 and all(isinstance(part, str) for part in said)):
            raise UserError(f"{folder}: model_index.json names no class for {name}; fetch the model folder again")
        library, kind = said
        if kind not in libraries.get(library, ()):
            raise UserError(f"{folder}: {name} of class {library}.{kind} is refused; only classes of this suite load")


def pipeline_settings(folder: Path, index: dict, tasks: Container[str]) -> dict:
    """What a model_index.json says of a pipeline besides its modules, checked."""
    settings = {name: index[name] for name in SETTINGS if name in index}
    for name, value in settings.items():
        kind, least = SETTINGS[name]
        fits = isinstance(value, kind) and isinstance(value, bool) == (kind is bool)
        if not fits or (least is not None and value < least) or (name == "task" and value not in tasks):
            raise UserError(f"{folder}: model_index.json has {name} {value!r}; fetch the model folder again")
    return settings


def load_component(kind: type[Model], folder: Path, dtype: torch.dtype = torch.float32) -> Model:
    """A diffusers model of a known class from a folder."""
    component_settings(folder, kind)
    refuse_pickles(folder)
    with said_plainly(folder, kind.__name__):
        model, report = kind.from_pretrained(  # pyright: ignore[reportGeneralTypeIssues]
            folder, torch_dtype=dtype, use_safetensors=True, output_loading_info=True, local_files_only=True
        )
    check_loaded(folder, model, report)
    # else the folder it came from would be saved and published with it
    model._internal_dict = FrozenDict({name: v for name, v in model.config.items() if name != "_name_or_path"})
    return model


def load_codec(folder: str | Path, dtype: torch.dtype = torch.float32) -> LatentCodec:
    """A codec from a folder of train/vae.py, a pipeline's `vae/`, a diffusers AutoencoderKL, or by the word pixels."""
    if (pixels := named_pixel_codec(str(folder))) is not None:
        return pixels.to(dtype)
    folder = Path(folder)
    if not (folder / "config.json").is_file():
        raise UserError(f"{folder}: no codec here (config.json is missing); train one with train/vae.py")
    if read_settings(folder / "config.json").get("_class_name") == "AutoencoderKL":
        autoencoder = load_component(AutoencoderKL, folder)
        with said_plainly(folder, "codec"):
            return LatentCodec.from_autoencoder(autoencoder).to(dtype)
    return load_component(LatentCodec, folder, dtype)


def load_scheduler(kind: str, folder: Path) -> SchedulerMixin:
    """A scheduler of a known class from a folder."""
    read_settings(folder / "scheduler_config.json")
    with said_plainly(folder, "scheduler"):
        scheduler = SCHEDULERS[kind].from_pretrained(folder, local_files_only=True)
        _try_out(scheduler)
    return scheduler


def _try_out(scheduler: SchedulerMixin) -> None:
    """One step on nothing, with a copy: settings that do not fit raise now and not in the middle of a drawing."""
    copy = type(scheduler).from_config(scheduler.config)
    copy.set_timesteps(2)
    nothing = torch.zeros(1, 1, 2, 2)
    copy.scale_model_input(nothing, copy.timesteps[0])
    copy.step(nothing, copy.timesteps[0], nothing)


def lineage(folder: Path, index: dict) -> list[Path]:
    """A model's folder, the one beside it that it differs from and shares the rest with, that one's own, and so on.

    Errors: UserError where one is not there, where its name leads elsewhere, or where it builds upon itself.
    """
    line = [folder]
    while (name := index.get("base")) is not None:
        if not isinstance(name, str) or not name or name.startswith(".") or set(name) & set("/\\:"):
            raise UserError(
                f"{folder}: base {name!r} in model_index.json is no folder beside it; fetch the model again"
            )
        base = folder.parent / name
        if base in line:
            raise UserError(
                f"{folder}: base {name!r} in model_index.json builds upon this model; fetch the model again"
            )
        if not (base / "model_index.json").is_file():
            raise UserError(f"{folder}: builds upon the model {name}, which is not beside it; fetch {base} too")
        folder, index = base, read_settings(base / "model_index.json")
        line.append(folder)
    return line


def home(line: Sequence[Path], component: str) -> Path:
    """The nearest folder of a lineage that holds a component; the first where none does."""
    return next((folder for folder in line if (folder / component).is_dir()), line[0])


def load_modules(folder: Path, index: dict, dtype: torch.dtype) -> dict:
    """The modules of a pipeline that this suite has saved, by the names of its model_index.json.

    What the folder does not hold comes from the models that it builds upon.
    """
    check_components(folder, index)
    line = lineage(folder, index)
    text = load_text_encoder(home(line, "text_encoder"), subfolder="text_encoder")
    module, kind = index.get("conditioner") or (None, None)
    conditioner = {}
    if kind is not None:
        conditioner["conditioner"] = load_component(CONDITIONERS[module][kind], folder / "conditioner", dtype)
    return {
        **conditioner,
        "vae": load_codec(home(line, "vae") / "vae", dtype),
        "text_encoder": text.model.to(dtype),
        "tokenizer": text.tokenizer,
        "unet": _load_unet(UNETS[index["unet"][1]], line, dtype),
        "scheduler": load_scheduler(index["scheduler"][1], folder / "scheduler"),
    }


def _load_unet(kind: type[Model], line: Sequence[Path], dtype: torch.dtype) -> Model:
    """A denoiser from its weights, or from those that it builds upon and what each model since has changed."""
    folders = [folder / "unet" for folder in line if (folder / "unet").is_dir()] or [line[0] / "unet"]
    whole = next((n for n, folder in enumerate(folders) if not (folder / DIFFERENCE).is_file()), len(folders) - 1)
    if whole == 0:
        return load_component(kind, folders[0], dtype)
    settings = component_settings(folders[0], kind)
    weights = load_component(kind, folders[whole]).state_dict()
    for folder in reversed(folders[:whole]):
        with said_plainly(folder, kind.__name__):
            weights = restored(weights, load_file(folder / DIFFERENCE))
    with said_plainly(folders[0], kind.__name__):
        model = kind.from_config(settings)
        model.load_state_dict({name: weight.float() for name, weight in weights.items()})
    check_loaded(folders[0], model, {})
    return torch.nn.Module.to(model, dtype).eval()  # diffusers' own warns of float32 modules where there are none


def load_stable_diffusion(folder: Path, index: dict, dtype: torch.dtype) -> dict:
    """Arguments of a pipeline from a Stable-Diffusion-format folder, such as RoentGen's."""
    check_components(folder, index)
    codec = load_codec(folder / "vae", dtype)
    unet = load_component(UNet2DConditionModel, folder / "unet", dtype)
    if unet.config.in_channels != codec.config.latent_channels:
        raise UserError(f"{folder}: its UNet takes {unet.config.in_channels} channels; only text-to-image models load")
    text = load_text_encoder(folder, subfolder="text_encoder").to(dtype)
    scheduler = load_scheduler("DDIMScheduler", folder / "scheduler")
    scheduler.register_to_config(clip_sample=False)
    return {
        "vae": codec,
        "text_encoder": text.model,
        "tokenizer": text.tokenizer,
        "unet": unet,
        "scheduler": scheduler,
        "resolution": unet.config.sample_size * codec.downsample_factor,
        "max_tokens": text.max_tokens,
        "steps": 50,
        "guidance": 4.0,
        "name": folder.name,
        "mask_padding": False,  # they were trained to attend to the padding too
    }


def download(model: str, revision: str | None) -> Path:
    """A model folder from the hub, without files that can run code."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(model, revision=revision, allow_patterns=HUB_FILES))
    except (HFValidationError, HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{model}: no such folder, and not to be had from the hub ({reason})") from None


def weights_hash(*folders: str | Path) -> str:
    """Twelve hexadecimal digits over the weight files below the folders, in name order."""
    digest = hashlib.sha256()
    for folder in folders:
        for path in sorted(Path(folder).rglob("*.safetensors")):
            digest.update(path.read_bytes())
    return digest.hexdigest()[:12]
