"""cxr-sample bone: soft-tissue images of radiographs."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gen.errors import UserError

from .models import Compiled, InDtype, LowMemory, OfAttention, OnDevice, Revision, load_pipeline

if TYPE_CHECKING:
    from gen import CXRPipeline
    from gen.calls.bone import BoneModel


Lungs = Annotated[
    str | None,
    typer.Option(help="segmenter: the shipped one if left out, a folder, xrv (extra [eval]) or xrv:FILE.safetensors"),
]


def bone(
    radiographs: Annotated[Path, typer.Argument(help="an image or DICOM file, a folder of them, or an index")],
    out: Annotated[Path, typer.Option(help="folder to write into; the same command again goes on")],
    model: Annotated[str | None, typer.Option(help="model folder or hub id; the shipped one if left out")] = None,
    revision: Revision = None,
    steps: Annotated[
        int | None, typer.Option(min=1, help="network calls a drawing; the model's own if left out")
    ] = None,
    seed: Annotated[int, typer.Option(help="of the noise")] = 0,
    draws: Annotated[int, typer.Option(min=1, help="drawings of which the mean is taken")] = 1,
    scale: Annotated[int, typer.Option(min=1, max=8, help="looks so many times as closely, by tiles")] = 1,
    looks: Annotated[
        int,
        typer.Option(
            min=1, max=8, help="looks of which the mean is taken, one call each and step; 1 with --scale or --dual"
        ),
    ] = 8,
    dual: Annotated[bool, typer.Option(help="draw as GL-LCM does, 50 steps in two paths; to compare with")] = False,
    lungs: Lungs = None,
    anyway: Annotated[bool, typer.Option(help="also of images that look inverted, lateral or like no chest")] = False,
    triptychs: Annotated[bool, typer.Option(help="before, after and removed side by side, as PNG")] = True,
    device: OnDevice = "auto",
    dtype: InDtype = "auto",
    attention: OfAttention = "sdpa",
    compiled: Compiled = "off",
    low_memory: LowMemory = False,
) -> None:
    """Suppress bones: soft-tissue images in the size, depth and format of the radiographs (JPEG becomes PNG).

    Of an index with real soft-tissue images (column soft) pairs.csv is written too, for cxr-eval bone.
    """
    from .bone import radiographs as listed
    from .bone import suppress_all

    if lungs and not dual:
        raise UserError("--lungs: names the mask of --dual; give both or neither")
    items = listed(radiographs)
    how = {"dtype": dtype, "attention": attention, "compiled": compiled, "low_memory": low_memory}
    load = partial(load_pipeline, revision=revision, device=device, difference=True, **how)
    finder = load_bone_model(model, load, steps, seed, draws, dual, lungs)
    settings = {"model_hash": finder.record.model_hash, "steps": finder.record.steps, "seed": seed, "draws": draws}
    settings |= {"scale": scale, "looks": 1 if dual or scale > 1 else looks, "dual": dual} | (
        {"lungs": lungs} if lungs else {}
    )
    outcome = suppress_all(finder, items, out, settings, anyway, triptychs)
    typer.echo(f"{outcome.done - len(outcome.refused)} soft-tissue images are in {out}")
    for line in outcome.refused:
        typer.echo(f"refused {line}; --anyway overrides", err=True)


def load_bone_model(
    model: str | None,
    load: Callable[[str], CXRPipeline],
    steps: int | None,
    seed: int,
    draws: int,
    dual: bool,
    lungs: str | None = None,
) -> BoneModel:
    """A bone pipeline as `load` gets it ready, or a baseline network where the folder holds one."""
    from gen.calls.bone import diffusion_bones, regressed_bones
    from gen.calls.bone_dual import dual_bones
    from gen.judges.pspnet import lung_segmenter
    from gen.models.bone import REGRESSORS
    from gen.models.loading import load_component, weights_hash
    from gen.pipeline import WEIGHTS

    folder = Path(model) if model else WEIGHTS / "bone_256"
    if not model and not folder.is_dir():
        raise UserError("no bone model is shipped with this version; give one with --model")
    settings = folder / "config.json"
    named = json.loads(settings.read_text()).get("_class_name") if settings.is_file() else None
    if named in REGRESSORS:
        if dual:
            raise UserError(f"--dual: {folder} is a plain network, which draws nothing; leave --dual out")
        return regressed_bones(load_component(REGRESSORS[named], folder).eval(), folder.name, weights_hash(folder))
    if dual:
        return dual_bones(load(str(folder)), lung_segmenter(lungs), steps, seed)
    return diffusion_bones(load(str(folder)), steps, seed, draws)
