"""cxr-index phantom and phantom-check, beside the commands of gen.data.cli."""

from __future__ import annotations

import os
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Annotated

import typer

from gen.data.cli import app
from gen.errors import UserError, exit_on_user_error
from gen.examples import add_examples


@app.command()
def phantom(
    out: Annotated[Path, typer.Option(help="folder of the data set; run the same command again to go on")],
    n: Annotated[int, typer.Option(help="number of images")] = 100,
    seed: Annotated[int, typer.Option(help="the data set's seed: the same seed, the same bits")] = 0,
    size: Annotated[int, typer.Option(help="side of the images in pixels, a multiple of 8")] = 256,
    views: Annotated[
        str, typer.Option(help="views of every study: PA, AP, AP SUPINE, LATERAL, OBLIQUE, with commas")
    ] = "PA",
    followed: Annotated[float, typer.Option(help="share of patients with follow-ups after 24 and 72 hours")] = 0.15,
    findings: Annotated[
        str, typer.Option(help="shares of studies that show a finding, other than usual, such as edema=0.5,mass=0")
    ] = "",
    workers: Annotated[int, typer.Option(help="processes")] = 1,
) -> None:
    """Make a data set of physics phantoms: radiographs, soft-tissue and bone images, masks, findings, events."""
    from gen.data.summary import summary
    from gen.phantom.cohort import Plan, prepare_folder, write_tables

    if workers < 1:
        raise UserError(f"--workers {workers}: at least one")
    named = tuple(view.strip().upper() for view in views.split(",") if view.strip())
    plan = Plan(n, seed, size, named, followed, _shares(findings))
    prepare_folder(plan, out)
    _write_all(plan, out, min(workers, os.cpu_count() or 1))
    table = write_tables(plan, out)
    typer.echo(f"{summary(table)}\n\nwrote {out / 'index.parquet'}")


@app.command("phantom-check")
def phantom_check(
    real: Annotated[Path, typer.Option(help="index of real radiographs")],
    out: Annotated[Path, typer.Option(help="plot to write, .png, .pdf or .svg")] = Path("phantom-check.png"),
    n: Annotated[int, typer.Option(help="phantoms to make, and real images to read at most ten times as many")] = 50,
    seed: Annotated[int, typer.Option(help="of the phantoms and of the choice of real images")] = 0,
    size: Annotated[int, typer.Option(help="side in pixels")] = 256,
    split: Annotated[str, typer.Option(help="read real images of this split only: train, val or test")] = "",
) -> None:
    """Compare grey-level histogram and power spectrum of phantoms with the band of real radiographs."""
    from gen.phantom.realism import compare, draw

    if out.suffix.lower() not in (".png", ".pdf", ".svg"):
        raise UserError(f"--out {out}: the plot is a .png, .pdf or .svg file")
    comparison = compare(real, n, seed, size, split)
    draw(comparison, out)
    for name, curves in comparison.items():
        typer.echo(f"{name}: {curves.share:.0%} of the bins within the real 5th to 95th percentile")
    typer.echo(f"wrote {out}")


@app.command("phantom-sheet")
def phantom_sheet(
    real: Annotated[Path, typer.Option(help="index of real radiographs; only rows with may_ship are shown")],
    out: Annotated[Path, typer.Option(help="PNG to write")] = Path("phantom-sheet.png"),
    rows: Annotated[int, typer.Option(help="rows of images")] = 3,
    columns: Annotated[int, typer.Option(help="columns of each half")] = 6,
    seed: Annotated[int, typer.Option(help="of the phantoms and of the choice of real images")] = 0,
    size: Annotated[int, typer.Option(help="side of an image in pixels")] = 128,
    source: Annotated[str, typer.Option(help="show real images of this source only, such as nih_cxr14")] = "",
) -> None:
    """Draw a contact sheet: real radiographs on the left, as many phantoms on the right."""
    import numpy as np
    from PIL import Image

    from gen.files import replacing
    from gen.phantom.realism import contact_sheet

    if out.suffix.lower() != ".png":
        raise UserError(f"--out {out}: the sheet is a .png file")
    if min(rows, columns) < 1:
        raise UserError(f"--rows {rows} --columns {columns}: at least one of each")
    sheet = contact_sheet(real, seed, size, rows, columns, source)
    with replacing(out) as temporary:
        Image.fromarray(np.round(sheet * 255).astype(np.uint8)).save(temporary, format="PNG", optimize=True)
    typer.echo(f"wrote {out}")


@app.command("vary-pairs")
def vary_pairs(
    index: Annotated[Path, typer.Argument(help="index with soft-tissue images (column soft), such as a phantom set's")],
    out: Annotated[Path, typer.Option(help="folder of the new set; run the same command again to go on")],
    like: Annotated[Path | None, typer.Option(help="real radiographs' index, to take grey levels from")] = None,
    times: Annotated[int, typer.Option(help="looks of every pair")] = 2,
    seed: Annotated[int, typer.Option(help="of the looks")] = 0,
    plain: Annotated[bool, typer.Option(help="also every pair in its own look, moved or not, with nodules")] = True,
) -> None:
    """Show training pairs in other looks (contrast, sharpness, noise, grey levels, bone): from phantoms to patients.

    Pairs of the splits val and test stay as they are. Real radiographs lend their grey levels from their split train.
    """
    from gen.data.index import write_index
    from gen.data.pairs import vary_index

    if times < 1:
        raise UserError(f"--times {times}: at least one")
    table = vary_index(index, out, like, times, seed, plain)
    write_index(table, out / "index.parquet")
    typer.echo(f"{len(table)} pairs; wrote {out / 'index.parquet'}")


add_examples(app, "cxr-index")


def main() -> None:
    """Entry point of the console script."""
    with exit_on_user_error():
        app()


def _shares(findings: str) -> dict[str, float]:
    """Numbers of `kind=share,kind=share`."""
    shares = {}
    for part in filter(None, map(str.strip, findings.split(","))):
        kind, _, share = part.partition("=")
        try:
            shares[kind.strip().lower()] = float(share)
        except ValueError:
            raise UserError(f"--findings {part}: write kind=share, such as edema=0.5") from None
    return shares


def _write_all(plan, out: Path, workers: int) -> None:
    from tqdm import tqdm

    from gen.phantom.cohort import write_patient

    jobs = list(plan.patients())
    with tqdm(total=plan.n, unit="image", desc="phantoms") as bar:
        if workers == 1:
            for name, seed, count in jobs:
                write_patient(plan, out, name, seed, count)
                bar.update(count)
            return
        with ProcessPoolExecutor(workers) as pool:
            counts = {pool.submit(write_patient, plan, out, *job): job[2] for job in jobs}
            for done in as_completed(counts):
                done.result()
                bar.update(counts[done])


if __name__ == "__main__":
    main()
