"""Commands of cxr-eval besides its parts: prompts of a split, the utility study, tables of image files."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from .perceptual import Backbone  # typer reads it

if TYPE_CHECKING:
    from gen.judges.study import StudyJudge

    from .section import Section

Out = Annotated[Path | None, typer.Option(help="folder for metrics.json; without it the figures are only printed")]
Reader = Annotated[Path | None, typer.Option(help="folder of a classifier (train/classifier.py); else the shipped one")]
Coder = Annotated[
    Path | None, typer.Option(help="run of train/study_code.py, which the model did not use, to tell whose study it is")
]
Draws = Annotated[int, typer.Option(help="resamplings behind every interval")]
Seed = Annotated[int, typer.Option(help="of every random draw")]


def add_commands(app: typer.Typer) -> None:
    """Give cxr-eval these commands."""
    app.command(help="Prompts of the held-out radiographs, a table to draw a synthetic set from.")(prompts)
    app.command(help="What a downstream classifier, segmenter or detector gains by the synthetic images.")(utility)
    app.command(help="Bone suppression against real soft-tissue images.")(bone)
    app.command("bone-findings", help="Whether bone suppression leaves disease alone.")(bone_findings)
    app.command(help="Follow-up images against the real follow-up and a copy of the prior.")(temporal)
    app.command(help="Phantom follow-ups: sizes of findings as drawn, against the true ones.")(sizes)
    app.command(help="Several futures of one prior: whether their deviation tells where they are wrong.")(spread)
    app.command(help="Images of another view of the same study.")(views)
    app.command(help="Studies drawn from words: whether their views are of one patient.")(studies)
    app.command(help="Quality by number of steps and by seconds, of a model and its few-step student.")(steps)


def prompts(
    real: Annotated[Path, typer.Option(help="index of real radiographs with splits (cxr-index build)")],
    out: Annotated[Path, typer.Option(help="CSV to write; draw it with cxr-sample image --table")],
    split: Annotated[str, typer.Option(help="held-out split: test or val")] = "test",
    each: Annotated[int, typer.Option(min=1, help="synthetic images a radiograph")] = 1,
    may_ship_only: Annotated[bool, typer.Option("--may-ship-only", help="only rows that may be passed on")] = False,
    most: Annotated[int | None, typer.Option(min=1, help="at most so many radiographs, at random")] = None,
    wording: Annotated[Literal["plain", "templates"], typer.Option(help="one sentence, or varied templates")] = "plain",
    seed: Seed = 0,
) -> None:
    from .prompts import write_prompts

    count = write_prompts(real, out, split, each, may_ship_only, most, wording, seed)
    typer.echo(f"{count} prompts, {count * each} images; draw them with cxr-sample image --table {out} --out set")


def utility(
    real: Annotated[Path, typer.Option(help="index of real radiographs with splits (cxr-index build)")],
    synthetic: Annotated[Path, typer.Option(help="manifest of the synthetic set, or its folder")],
    out: Annotated[Path, typer.Option(help="folder for the page; the same command again goes on where it was stopped")],
    config: Annotated[Path | None, typer.Option(help="recipe of the study; else the quick one of --target")] = None,
    overrides: Annotated[list[str] | None, typer.Argument(help="key=value, fields of the recipe")] = None,
    target: Annotated[
        Literal["labels", "masks", "boxes"] | None,
        typer.Option(help="what is learned: labels (by default), masks or boxes, which lie beside both tables"),
    ] = None,
    reference: Annotated[str, typer.Option(help="split that the generator has not seen")] = "test",
    seed: Seed = 0,
    workers: Annotated[int | None, typer.Option(help="processes that decode images; one a core if left out")] = None,
) -> None:
    from dataclasses import replace

    from .evaluation import Options, measure, prepare, write
    from .utility_plan import load_plan

    plan = load_plan(config, overrides or (), target)
    workers = len(os.sched_getaffinity(0)) if workers is None else workers
    context, record = prepare(Options(real, synthetic, out, (), reference, seed=seed, workers=workers))
    sections = measure(replace(context, utility=plan), ("utility",))
    page, metrics = write(context, record, sections)
    typer.echo(f"{_text(sections[0])}\nOpen {page}\nor read {metrics}")


def bone(
    pairs: Annotated[Path, typer.Option(help="CSV: cxr, target, output, if wanted output_OTHER, patient")],
    out: Out = None,
    lpips: Annotated[
        Backbone | None,
        typer.Option(
            help="also LPIPS, over the shipped reader (its own scale) or a network of torchvision, whose weights come "
            "with no package: torch.hub fetches them where $TORCH_HOME/hub/checkpoints has none"
        ),
    ] = None,
    draws: Draws = 1000,
    seed: Seed = 0,
) -> None:
    from .paired import measure_pairs

    _hand_out(measure_pairs(pairs, draws, seed, lpips), out)


def bone_findings(
    run: Annotated[Path, typer.Argument(help="folder written by cxr-sample bone INDEX")],
    index: Annotated[Path, typer.Option(help="that index: phantoms, or radiographs with boxes beside it")],
    out: Out = None,
    draws: Draws = 1000,
    seed: Seed = 0,
) -> None:
    from .preservation import measure_preservation

    _hand_out(measure_preservation(run, index, draws, seed), out)


def temporal(
    table: Annotated[
        Path, typer.Option(help="CSV: prior, target, generated, findings, prior_findings, patient, if wanted subset")
    ],
    reader: Reader = None,
    out: Out = None,
    draws: Draws = 1000,
    seed: Seed = 0,
) -> None:
    from gen.judges.reader import Reader as Judge

    from .temporal import measure_series

    _hand_out(measure_series(table, Judge.load(reader), draws, seed), out)


def sizes(
    table: Annotated[Path, typer.Option(help="follow_ups.csv of `cxr-sample follow-ups`")],
    phantoms: Annotated[Path, typer.Option(help="index of the phantoms, with findings.parquet and masks beside it")],
    out: Out = None,
    draws: Draws = 1000,
    seed: Seed = 0,
) -> None:
    from .sizes import measure_sizes

    _hand_out(measure_sizes(table, phantoms, draws, seed), out)


def spread(
    table: Annotated[Path, typer.Option(help="follow_ups.csv of `cxr-sample follow-ups --futures 8`")],
    out: Out = None,
    draws: Draws = 1000,
    seed: Seed = 0,
) -> None:
    from .spread import measure_spread

    _hand_out(measure_spread(table, draws, seed), out)


def views(
    table: Annotated[
        Path, typer.Option(help="CSV: context, target, generated, view, findings, patient, if wanted generated_wrong")
    ],
    reader: Reader = None,
    view_reader: Annotated[Path | None, typer.Option(help="another that tells the view; else the shipped one")] = None,
    coder: Coder = None,
    out: Out = None,
    draws: Draws = 1000,
    seed: Seed = 0,
) -> None:
    from gen.judges.reader import SHIPPED_READER, SHIPPED_VIEW_READER
    from gen.judges.reader import Reader as Judge

    from .views import measure_views

    judge = Judge.load(reader or SHIPPED_READER).seeing_by(Judge.load(view_reader or SHIPPED_VIEW_READER))
    _hand_out(measure_views(table, judge, draws, seed, _coder(coder)), out)


def studies(
    table: Annotated[Path, typer.Option(help="studies.csv of `cxr-sample studies`")],
    real: Annotated[Path, typer.Option(help="index of true studies of these views: training split to learn from")],
    reader: Reader = None,
    coder: Coder = None,
    out: Out = None,
    draws: Draws = 1000,
    seed: Seed = 0,
) -> None:
    from gen.judges.reader import Reader as Judge

    from .studies import measure_studies

    _hand_out(measure_studies(table, real, Judge.load(reader), draws, seed, _coder(coder)), out)


def steps(
    real: Annotated[Path, typer.Option(help="index of real radiographs with splits (cxr-index build)")],
    teacher: Annotated[str, typer.Option(help="model folder or hub id, drawn by DDIM, DDPM and DPM-Solver++")],
    out: Annotated[Path, typer.Option(help="folder for steps.png and metrics.json; finished points are kept there")],
    student: Annotated[str | None, typer.Option(help="few-step model distilled from it (train/lcm.py)")] = None,
    network: Annotated[str, typer.Option(help="feature network, as in cxr-eval fidelity")] = "reader",
    split: Annotated[str, typer.Option(help="split that neither has seen")] = "test",
    images: Annotated[int, typer.Option(min=8, help="at most this many held-out samples")] = 256,
    guidance: Annotated[float, typer.Option(min=0, help="guidance scale of both")] = 2.0,
    teacher_steps: Annotated[list[int] | None, typer.Option(help="may be given several times; else 4, 8, 50")] = None,
    student_steps: Annotated[list[int] | None, typer.Option(help="the same; else 1, 2, 4, 8")] = None,
) -> None:
    from gen.files import replacing

    from .networks import load_network
    from .steps import measure_steps

    counts = tuple(teacher_steps or (4, 8, 50)), tuple(student_steps or (1, 2, 4, 8))
    section = measure_steps(real, teacher, student, out, load_network(network), split, images, guidance, *counts)
    with replacing(out / "steps.png") as temporary:
        temporary.write_bytes(section.plots[0].png)
    _hand_out(section, out)


def _coder(folder: Path | None) -> StudyJudge | None:
    if folder is None:
        return None
    from gen.judges.study import StudyJudge

    return StudyJudge.load(folder)


def _hand_out(section: Section, out: Path | None) -> None:
    import json

    from gen.files import replacing

    typer.echo(_text(section))
    if out is not None:
        with replacing(out / "metrics.json") as temporary:
            temporary.write_text(json.dumps({"sections": {section.key: section.to_json()}}, indent=1, sort_keys=True))


def _text(section: Section) -> str:
    """A section as lines for a terminal."""
    from .report import interval, number

    lines = [section.title, ""]
    for figure in section.figures:
        bounds = f" ({interval(figure)})" if interval(figure) else ""
        beside = [("floor", figure.floor), ("control", figure.control)]
        more = "".join(f"  {name} {number(value)}" for name, value in beside if value is not None)
        name = f"{figure.name}, {figure.group}" if figure.group else figure.name
        lines.append(f"{name}: {number(figure.value)}{bounds} {figure.unit} n {figure.n}{more}")
    for table in section.tables:
        rows = [table.header, *table.rows]
        widths = [max(len(row[column]) for row in rows) for column in range(len(table.header))]
        lines += ["", table.title]
        lines += ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    return "\n".join([*lines, "", *(f"{v.kind}: {v.text}" for v in section.verdicts), *section.notes])
