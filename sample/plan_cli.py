"""cxr-sample plan: what to draw, from a target distribution or to mend an index."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gen.errors import UserError

from .conditions import Condition, Wording
from .models import Device, Dtype, Painter, load_pipeline, settings_of
from .writers import Format

if TYPE_CHECKING:
    from .planning import Recipe, Speed

SIDE = 256  # px of the shipped model
HELP = {
    "target": "YAML or CSV file of groups: n, findings, view, sex, age, prompt",
    "index": "index of real radiographs to mend; only its train split is read",
    "each": "bring every class of the index to so many rows, real and planned",
    "equal_sexes": "give every finding as many women as men",
    "copies": "plan the train split's conditions so many times",
    "rare_copies": "plan those with a rare label so many times more",
    "rare_below": "share of the train split under which a label is rare",
    "prompts": "plain sentences, varied templates, or the train split's own reports where there are some",
    "measure": "draw a batch to measure time and disk",
}


def plan(
    out: Annotated[Path | None, typer.Option(help="Parquet file to write")] = None,
    target: Annotated[Path | None, typer.Option(help=HELP["target"])] = None,
    index: Annotated[Path | None, typer.Option(help=HELP["index"])] = None,
    each: Annotated[int | None, typer.Option(min=1, help=HELP["each"])] = None,
    equal_sexes: Annotated[bool, typer.Option("--equal-sexes", help=HELP["equal_sexes"])] = False,
    copies: Annotated[int, typer.Option(min=0, help=HELP["copies"])] = 0,
    rare_copies: Annotated[int, typer.Option(min=0, help=HELP["rare_copies"])] = 0,
    rare_below: Annotated[float, typer.Option(min=0, max=1, help=HELP["rare_below"])] = 0.05,
    prompts: Annotated[Wording, typer.Option(help=HELP["prompts"])] = "templates",
    seed: Annotated[int, typer.Option(min=0, help="another one gives another plan of the same kind")] = 0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="print counts and costs, write nothing")] = False,
    images_per_second: Annotated[float | None, typer.Option(min=1e-6, help="of one process, for the estimate")] = None,
    measure: Annotated[bool, typer.Option("--measure", help=HELP["measure"])] = False,
    format_: Annotated[Format, typer.Option("--format", help="for the estimate of disk")] = "png",
    model: Annotated[str | None, typer.Option(help="to measure; the shipped model if left out")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="to measure; the model's own if left out")] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="to measure")] = 8,
    device: Annotated[Device, typer.Option(help="to measure")] = "auto",
    dtype: Annotated[Dtype, typer.Option(help="to measure")] = "auto",
) -> None:
    """Plan a set: a Parquet table of ids, conditions, prompts and seeds; the same command gives the same plan."""
    from .planning import BYTES_PER_PIXEL, Recipe, Speed, conditions, counted, estimated, write_plan

    recipe = Recipe(target, index, each, equal_sexes, copies, rare_copies, rare_below, prompts, seed)
    _check(recipe, out, dry_run)
    found = conditions(recipe)
    if not found:
        raise UserError("nothing to plan: the index is as you want it already; ask for more with --each or --copies")
    speed = Speed(images_per_second, BYTES_PER_PIXEL[format_] * SIDE**2, f"{SIDE} px {format_}")
    if measure:
        speed = measured(found[:batch_size], format_, model, steps, batch_size, device, dtype)
    typer.echo(f"{counted(found)}\n{estimated(len(found), speed)}")
    if out is not None and not dry_run:
        write_plan(found, recipe, out)
        typer.echo(f"wrote {out}; draw it with cxr-sample run {out} --out FOLDER")


def measured(
    found: list[Condition],
    format_: Format,
    model: str | None,
    steps: int | None,
    batch_size: int,
    device: Device,
    dtype: Dtype,
) -> Speed:
    """Time and bytes of an image, from a batch drawn here; the first batch warms up."""
    from .packing import bytes_of
    from .planning import Speed

    pipeline = load_pipeline(model, None, device, dtype)
    painter = Painter(pipeline, settings_of(pipeline, steps, None), batch_size, padded=True)
    texts = [one.words("plain", None) for one in found]
    painter.paint(texts[:1], [0])
    began = time.monotonic()
    pictures = painter.paint(texts, list(range(len(texts))))
    rate = painter.size / (time.monotonic() - began)
    size = sum(bytes_of(format_, picture) for picture in pictures) / len(pictures)
    return Speed(rate, size, f"measured on {painter.size} images of {pipeline.config.name}")


def _check(recipe: Recipe, out: Path | None, dry_run: bool) -> None:
    mending = recipe.each is not None or recipe.equal_sexes or recipe.copies > 0 or recipe.rare_copies > 0
    if recipe.target is None and recipe.index is None:
        raise UserError("give --target FILE, or --index FILE with --each N, --equal-sexes or --copies K")
    if recipe.index is None and (mending or recipe.wording == "reports"):
        raise UserError("--each, --equal-sexes, --copies, --rare-copies and --prompts reports need --index FILE")
    if recipe.index is not None and not mending:
        raise UserError("--index: say what to do with it: --each N, --equal-sexes, --copies K or --rare-copies K")
    if out is None and not dry_run:
        raise UserError("give --out FILE.parquet, or --dry-run to see the counts only")
