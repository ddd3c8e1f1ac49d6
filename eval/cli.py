"""cxr-eval: what synthetic radiographs are worth."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from gen.errors import exit_on_user_error
from gen.examples import add_examples

from .commands import add_commands

app = typer.Typer(
    help="Measure synthetic chest radiographs against real ones.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

# each is the module of its name beside this one
PARTS = {
    "fidelity": "How close the synthetic set is to real radiographs, and how diverse.",
    "alignment": "Whether images show what their prompts ask for.",
    "utility": "What a downstream classifier gains by the synthetic images, by the quick study.",
    "privacy": "Whether training radiographs come back: copies, membership, prompts, patients.",
    "fairness": "Whom the figures hold for, who is missed, and by which shortcuts labels are read.",
}

Real = Annotated[Path, typer.Option(help="index of real radiographs with splits (cxr-index build)")]
Synthetic = Annotated[Path, typer.Option(help="manifest.csv or .parquet of the synthetic set, or its folder")]
Out = Annotated[Path, typer.Option(help="folder for report.html, metrics.json and the feature cache")]
Network = Annotated[
    list[str] | None,
    typer.Option(
        help="feature network: reader, rad-dino, biomedclip, xrv, inception, hf:X, timm:X, open_clip:X, random"
    ),
]
Reference = Annotated[str, typer.Option(help="split that the generator has not seen")]
TrainedOn = Annotated[Path | None, typer.Option(help="index whose train split the generator saw, if another")]
Model = Annotated[str | None, typer.Option(help="the generator's folder or hub id, for membership inference")]
Reader = Annotated[
    list[str] | None,
    typer.Option(
        help="what reads labels: reader (shipped), xrv, or a folder of train/classifier.py; may be given twice"
    ),
]
ImageText = Annotated[str | None, typer.Option(help="image-text model of open_clip; the shipped one if left out")]
Lungs = Annotated[Path | None, typer.Option(help="folder of a lung segmenter; the shipped one if left out")]
Reidentifier = Annotated[Path | None, typer.Option(help="network of train/reidentify.py: do patients come back?")]
Share = Annotated[bool, typer.Option("--share", help="leave out real radiographs whose row has no may_ship")]
Cache = Annotated[Path | None, typer.Option(help="folder of computed features; in --out if left out")]
Seed = Annotated[int, typer.Option(help="of every random draw")]
Workers = Annotated[int | None, typer.Option(help="processes that decode images; one a core if left out")]


def _command(parts: tuple[str, ...]) -> Callable[..., None]:
    """The command that measures these parts and writes a page of them."""

    def command(
        real: Real,
        synthetic: Synthetic,
        out: Out,
        network: Network = None,
        reference: Reference = "test",
        trained_on: TrainedOn = None,
        model: Model = None,
        reader: Reader = None,
        image_text: ImageText = None,
        lungs: Lungs = None,
        reidentifier: Reidentifier = None,
        share: Share = False,
        cache: Cache = None,
        seed: Seed = 0,
        workers: Workers = None,
    ) -> None:
        from dataclasses import replace

        from .evaluation import Options, measure, prepare, write

        workers = len(os.sched_getaffinity(0)) if workers is None else workers
        more = {"readers": tuple(reader or ["reader"]), "image_text": image_text, "lungs": lungs}
        more |= {"reidentifier": reidentifier, "share": share}
        options = Options(
            real, synthetic, out, tuple(network or ["reader"]), reference, trained_on, model, cache, seed, workers
        )
        context, record = prepare(replace(options, **more))
        page, metrics = write(context, record, measure(context, parts))
        typer.echo(f"Open {page}\nor read {metrics}")

    return command


app.command("report", help="Everything, as one HTML page and metrics.json.")(_command(tuple(PARTS)))
for part, summary in PARTS.items():
    if part != "utility":  # which has a recipe besides
        app.command(part, help=summary)(_command((part,)))
add_commands(app)

add_examples(app, "cxr-eval")


def main() -> None:
    """Entry point of the console script."""
    with exit_on_user_error():
        app()
