"""cxr-sample: radiographs from a prompt, from a table of prompts, or the demo."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from gen.errors import UserError, exit_on_user_error
from gen.examples import add_examples

from .bone_cli import bone
from .follow_ups import follow_ups
from .futures import temporal
from .given import check_owners, given_of
from .lung_pairs import lung_pairs
from .models import Compiled, InDtype, LowMemory, OfAttention, OnDevice, Revision, load_pipeline
from .plan_cli import plan
from .request import Request, expand, read_table
from .run import draw
from .set_cli import calibrate, index, run, verify
from .studies import studies
from .study_pairs import study_pairs
from .writers import check_format

# torch and its kin take seconds to import, so the functions that draw import them
app = typer.Typer(
    help="Draw synthetic chest radiographs.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Out = Annotated[Path, typer.Option(help="folder to write into; the same command again goes on where it was stopped")]
Model = Annotated[str | None, typer.Option(help="model folder or hub id; the shipped model if left out")]
Steps = Annotated[int | None, typer.Option(help="sampling steps; the model's own number if left out")]


@app.command()
def image(
    out: Out,
    prompt: Annotated[str, typer.Option(help="what to draw, in words")] = "",
    table: Annotated[
        Path | None,
        typer.Option(
            help="CSV: column prompt, and if wanted view, sex, age, findings, n, seed, study, study_view, angle"
        ),
    ] = None,
    view: Annotated[str | None, typer.Option(help="PA, AP, AP SUPINE or LATERAL")] = None,
    sex: Annotated[str | None, typer.Option(help="M or F")] = None,
    age: Annotated[float | None, typer.Option(help="years")] = None,
    study: Annotated[
        list[Path] | None, typer.Option(help="another image of the study, for view models; repeat it for up to three")
    ] = None,
    study_view: Annotated[
        list[str] | None, typer.Option(help="its view, or angle in degrees; as often as --study")
    ] = None,
    index_: Annotated[
        Path | None, typer.Option("--index", help="index of the study's images, which must be of one patient by it")
    ] = None,
    angle: Annotated[float | None, typer.Option(help="degrees: 0 PA, 90 left lateral, 180 AP; for view models")] = None,
    n: Annotated[int, typer.Option(help="images a prompt")] = 1,
    seed: Annotated[int, typer.Option(help="of the first image; the next one has the next")] = 0,
    steps: Steps = None,
    guidance: Annotated[
        float | None, typer.Option(help="how closely to follow the prompt; 1 is plain and twice as fast")
    ] = None,
    model: Model = None,
    revision: Revision = None,
    batch_size: Annotated[int, typer.Option(help="images drawn at once; changes the speed, not the images")] = 8,
    format_: Annotated[Literal["png", "dicom"], typer.Option("--format", help="file format")] = "png",
    device: OnDevice = "auto",
    dtype: InDtype = "auto",
    attention: OfAttention = "sdpa",
    compiled: Compiled = "off",
    low_memory: LowMemory = False,
) -> None:
    """Draw radiographs from a prompt or a table of prompts, with a manifest.

    Options such as --view and --n fill in what a table's row leaves out. Every file is marked as synthetic.
    """
    _check_numbers(batch_size=batch_size, steps=steps, guidance=guidance)
    given = given_of(study or [], study_view or [], angle)
    defaults = Request(prompt, view, sex, age, n=n, given=given)
    items = expand(_requests(defaults, table), seed)
    check_format(format_)
    if index_ is not None:
        check_owners(index_, [item.given for item in items])
    pipeline = load_pipeline(model, revision, device, dtype, attention, compiled, low_memory)
    draw(pipeline, items, out, steps, guidance, batch_size, format_=format_)
    typer.echo(f"{len(items)} synthetic radiographs and manifest.csv are in {out}")


@app.command()
def demo(
    out: Out,
    seed: Annotated[int, typer.Option(help="of the first image; the next one has the next")] = 0,
    steps: Steps = None,
    model: Model = None,
    revision: Revision = None,
    device: OnDevice = "auto",
    dtype: InDtype = "auto",
    attention: OfAttention = "sdpa",
    compiled: Compiled = "off",
    low_memory: LowMemory = False,
) -> None:
    """Draw two radiographs for each of twelve prompts, a labelled contact sheet and an HTML page."""
    from .demo import draw_demo

    _check_numbers(steps=steps)
    pipeline = load_pipeline(model, revision, device, dtype, attention, compiled, low_memory)
    sheet, page = draw_demo(pipeline, out, steps, seed)
    typer.echo(f"Look at {sheet}\nor open {page}")


@app.command()
def inpaint(
    image: Annotated[Path, typer.Argument(help="radiograph to edit")],
    mask: Annotated[Path, typer.Option(help="image that is white where it may be drawn anew")],
    prompt: Annotated[str, typer.Option(help="what the whole image is to show")],
    out: Annotated[Path, typer.Option(help="PNG to write")],
    keep: Annotated[
        Path | None, typer.Option(help="image that is white where nothing may change; all but the mask if left out")
    ] = None,
    seed: Annotated[int, typer.Option(help="of the noise")] = 0,
    steps: Steps = None,
    guidance: Annotated[float | None, typer.Option(help="how closely to follow the prompt")] = None,
    model: Model = None,
    revision: Revision = None,
    device: OnDevice = "auto",
    dtype: InDtype = "auto",
    attention: OfAttention = "sdpa",
    compiled: Compiled = "off",
    low_memory: LowMemory = False,
) -> None:
    """Edit a radiograph inside a mask: insert or remove a finding, and keep the rest."""
    from gen.provenance import save_png

    _check_numbers(steps=steps, guidance=guidance)
    if out.suffix.lower() != ".png":
        raise UserError(f"--out {out}: the edited image is a .png file")
    pipeline = load_pipeline(model, revision, device, dtype, attention, compiled, low_memory)
    drawn = pipeline.inpaint(image, mask, prompt, keep, seed, steps, guidance)
    out.parent.mkdir(parents=True, exist_ok=True)
    save_png(drawn.images[0], drawn.records[0], out)
    typer.echo(f"wrote {out}")


for command in (bone, plan, run, verify, calibrate, index, study_pairs, studies, lung_pairs, temporal, follow_ups):
    app.command()(command)

add_examples(app, "cxr-sample")


def main() -> None:
    """Entry point of the console script."""
    with exit_on_user_error():
        app()


def _requests(defaults: Request, table: Path | None) -> list[Request]:
    if (table is None) == (defaults.prompt == ""):
        raise UserError("give either --prompt TEXT or --table FILE.csv")
    return [defaults] if table is None else read_table(table, defaults)


def _check_numbers(batch_size: int = 1, steps: int | None = None, guidance: float | None = None) -> None:
    for name, value in (("batch-size", batch_size), ("steps", steps)):
        if value is not None and value < 1:
            raise UserError(f"--{name} {value}: at least 1")
    if guidance is not None and not 0 <= guidance < float("inf"):
        raise UserError(f"--guidance {guidance}: a number from 0; 1 switches guidance off")


if __name__ == "__main__":
    main()
