"""cxr-sample bone: soft-tissue images of radiographs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gen.errors import UserError

from .models import Device, Dtype, load_pipeline

if TYPE_CHECKING:
    from gen.calls.bone import BoneModel


def bone(
    radiographs: Annotated[Path, typer.Argument(help="an image or DICOM file, a folder of them, or an index")],
    out: Annotated[Path, typer.Option(help="folder to write into; the same command again goes on")],
    model: Annotated[str | None, typer.Option(help="model folder or hub id; the shipped one if left out")] = None,
    revision: Annotated[str | None, typer.Option(help="commit or tag of a hub model")] = None,
    steps: Annotated[
        int | None, typer.Option(min=1, help="network calls a drawing; the model's own if left out")
    ] = None,
    seed: Annotated[int, typer.Option(help="of the noise")] = 0,
    draws: Annotated[int, typer.Option(min=1, help="drawings of which the mean is taken")] = 1,
    scale: Annotated[int, typer.Option(min=1, max=8, help="looks so many times as closely, by tiles")] = 1,
    anyway: Annotated[bool, typer.Option(help="also of images that look inverted, lateral or like no chest")] = False,
    triptychs: Annotated[bool, typer.Option(help="before, after and removed side by side, as PNG")] = True,
    device: Annotated[Device, typer.Option(help="auto takes a GPU if there is one")] = "auto",
    dtype: Annotated[Dtype, typer.Option(help="auto is float16 on a GPU, float32 on a CPU")] = "auto",
) -> None:
    """Suppress bones: soft-tissue images in the size, depth and format of the radiographs (JPEG becomes PNG).

    Of an index with real soft-tissue images (column soft) pairs.csv is written too, for cxr-eval bone.
    """
    from .bone import radiographs as listed
    from .bone import suppress_all

    items = listed(radiographs)
    finder = load_bone_model(model, revision, steps, seed, draws, device, dtype)
    settings = {"model_hash": finder.record.model_hash, "steps": finder.record.steps, "seed": seed, "draws": draws}
    settings["scale"] = scale
    outcome = suppress_all(finder, items, out, settings, anyway, triptychs)
    typer.echo(f"{outcome.done - len(outcome.refused)} soft-tissue images are in {out}")
    for line in outcome.refused:
        typer.echo(f"refused {line}; --anyway overrides", err=True)


def load_bone_model(
    model: str | None, revision: str | None, steps: int | None, seed: int, draws: int, device: Device, dtype: Dtype
) -> BoneModel:
    """A bone pipeline, or the baseline network where the folder holds one."""
    from gen.calls.bone import diffusion_bones, regressed_bones
    from gen.models.bone import BoneRegressor
    from gen.models.loading import load_component, weights_hash
    from gen.pipeline import WEIGHTS

    folder = Path(model) if model else WEIGHTS / "bone_256"
    if not model and not folder.is_dir():
        raise UserError("no bone model is shipped with this version; give one with --model")
    settings = folder / "config.json"
    if settings.is_file() and json.loads(settings.read_text()).get("_class_name") == BoneRegressor.__name__:
        return regressed_bones(load_component(BoneRegressor, folder).eval(), folder.name, weights_hash(folder))
    return diffusion_bones(load_pipeline(str(folder), revision, device, dtype), steps, seed, draws)
