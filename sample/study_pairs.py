"""cxr-sample study-pairs: views of held-out studies, drawn from their other views, beside the truth."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .given import Given, check_model
from .held_out import (
    RIGHT,
    UNTURNED,
    WRONG,
    distances,
    draw_all,
    fingerprint,
    targets_of,
    told,
    write_strips,
    write_table,
)
from .models import Compiled, InDtype, LowMemory, OfAttention, OnDevice, Revision, load_pipeline, settings_of
from .settings import claim


def study_pairs(
    index: Annotated[Path, typer.Option(help="index with studies of several views")],
    out: Annotated[Path, typer.Option(help="folder to write into; the same command again goes on")],
    model: Annotated[str, typer.Option(help="folder of a view model, or hub id")],
    split: Annotated[str, typer.Option(help="split of patients new to the model, or several with commas")] = "test",
    views: Annotated[str, typer.Option(help="views to draw, with commas")] = "PA,AP,AP SUPINE,LATERAL",
    turned: Annotated[
        bool, typer.Option("--turned", help="draw oblique images, at their own angle and another's, in place of views")
    ] = False,
    n: Annotated[int, typer.Option(help="images to draw at most, of patients at random")] = 64,
    prompts: Annotated[bool, typer.Option(help="say sex, age and findings, or leave all to the context")] = True,
    seed: Annotated[int, typer.Option(help="of the choice of images, and of the first image")] = 0,
    steps: Annotated[int | None, typer.Option(help="sampling steps; the model's own number if left out")] = None,
    guidance: Annotated[float | None, typer.Option(help="the model's own if left out")] = None,
    batch_size: Annotated[int, typer.Option(help="images drawn at once")] = 8,
    revision: Revision = None,
    device: OnDevice = "auto",
    dtype: InDtype = "auto",
    attention: OfAttention = "sdpa",
    compiled: Compiled = "off",
    low_memory: LowMemory = False,
) -> None:
    """Draw views of held-out studies from the right context, from another patient's, and from 0 and 1 images of it.

    Writes pairs.csv and, with K context images, pairs_K.csv for `cxr-eval views`; strips.png; and says how far from the
    truth each kind of image is.
    """
    pipeline = load_pipeline(model, revision, device, dtype, attention, compiled, low_memory)
    check_model(pipeline, [Given(angle=0.0)])
    targets = targets_of(index, split, [view.strip().upper() for view in views.split(",")], n, prompts, seed, turned)
    fewer = [f"context_{count}" for count in range(max(len(target.right.study) for target in targets))]
    fewer = [UNTURNED] if turned else fewer
    claim(out / "pairs.json", {**settings_of(pipeline, steps, guidance), "seed": seed, "images": fingerprint(targets)})
    draw_all(pipeline, targets, (RIGHT, WRONG, *fewer), out, seed, steps, guidance, batch_size)
    write_table(targets, out, "pairs.csv", RIGHT, WRONG)
    for kind in fewer:
        write_table(targets, out, f"pairs_{kind.rpartition('_')[2]}.csv", kind)
    write_strips(targets, out, pipeline.config.name)
    typer.echo(told(distances(targets, (RIGHT, WRONG, *fewer), out, pipeline.config.resolution)))
    typer.echo(f"look at {out / 'strips.png'}; judge with: cxr-eval views --table {out / 'pairs.csv'}")
