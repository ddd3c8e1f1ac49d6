"""cxr-index: build, check and summarise the index table of radiographs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gen.errors import UserError, exit_on_user_error

SHOWN_PROBLEMS = 50

# pandas takes half a second to import, so the commands import what they need
app = typer.Typer(
    help="Build, check and summarise the index: one table of radiographs that everything else reads.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
IndexPath = Annotated[Path, typer.Argument(help="index table, .parquet or .csv")]


@app.command()
def build(
    source: Annotated[
        str,
        typer.Argument(
            help="a known data set (nih_cxr14 ...), `auto` to recognise it, `folder` for any other, `webdataset` for "
            "tar shards, `huggingface` for Parquet, saved data sets and hub names"
        ),
    ],
    places: Annotated[list[str], typer.Argument(help="folders of that source; shards also by URL or pattern")],
    out: Annotated[Path, typer.Option(help="index to write, .parquet or .csv")] = Path("index.parquet"),
    csv: Annotated[Path | None, typer.Option(help="table of the images (source `folder`)")] = None,
    map_: Annotated[
        list[str] | None, typer.Option("--map", help="index column=source's column, e.g. view=ViewPosition; repeatable")
    ] = None,
    skip_missing: Annotated[bool, typer.Option(help="leave out listed images without a file")] = False,
    may_ship_only: Annotated[bool, typer.Option(help="keep only rows whose licence lets weights be shared")] = False,
    max_bad_share: Annotated[float, typer.Option(help="share of unusable records of shards to go on without")] = 0.01,
    ehr: Annotated[Path | None, typer.Option(help="MIMIC-IV folder with hosp/ and icu/ (source mimic_cxr)")] = None,
    hours_before: Annotated[float, typer.Option(help="with --ehr: events from so many hours before a study")] = 72,
    hours_after: Annotated[float, typer.Option(help="with --ehr: events until so many hours after a study")] = 24,
) -> None:
    """Build an index from folders or shards, with boxes, masks and events beside it where the source has them."""
    from gen.data.building import build_index
    from gen.data.sources import folder as any_folder
    from gen.data.sources.mimic_events import Window
    from gen.data.summary import summary

    if out.suffix.lower() not in (".parquet", ".csv"):
        raise UserError(f"--out {out}: the index is a .parquet or .csv file")
    table_of = any_folder.TableOf(csv, _column_map(map_ or []), skip_missing)
    table, written = build_index(
        source,
        places,
        out,
        table_of,
        ehr=ehr,
        window=Window(hours_before, hours_after),
        may_ship_only=may_ship_only,
        max_bad_share=max_bad_share,
    )
    typer.echo(f"{summary(table)}\n\nwrote {', '.join(written)}")


@app.command()
def sources() -> None:
    """List the known data sets: how one gets them, under which terms, and the files they are recognised by."""
    from gen.data.sources import SOURCES
    from gen.data.summary import aligned_left

    lines = [["source", "data set", "access", "licence", "recognised by"]]
    for name, adapter in SOURCES.items():
        lines.append([name, adapter.title, adapter.access, adapter.licence, " or ".join(adapter.telltales)])
    typer.echo(aligned_left(lines))


@app.command()
def check(
    index: IndexPath,
    images: Annotated[bool, typer.Option(help="also read every image")] = True,
    workers: Annotated[int, typer.Option(min=0, help="processes that read images, 0 for none besides this one")] = 4,
    report: Annotated[Path | None, typer.Option(help="CSV to write, one row a problem")] = None,
) -> None:
    """List every problem: columns, values, absent files, patients and images in two splits, polarity, borders, views.

    Ends with code 2 where patients or equal images are in two splits, files are absent or unreadable or the table is
    wrong; near-duplicates, polarity, borders and unknown views are warnings.
    """
    from gen.data.index import load_table
    from gen.data.inspection import counts, inspect
    from gen.data.inspection import report as as_table
    from gen.data.summary import aligned_left
    from gen.files import replacing

    problems = inspect(load_table(index), images, workers)
    if report:
        with replacing(report) as temporary:
            as_table(problems).to_csv(temporary, index=False)
    for problem in problems[:SHOWN_PROBLEMS]:
        typer.echo(problem.line())
    if len(problems) > SHOWN_PROBLEMS:
        typer.echo(f"... and {len(problems) - SHOWN_PROBLEMS} more{f', in {report}' if report else ' (see --report)'}")
    if problems:
        typer.echo(f"\n{aligned_left(counts(problems))}")
    errors = sum(problem.severity == "error" for problem in problems)
    if errors:
        raise UserError(f"{index}: {errors} problems; correct the table or build it again")
    typer.echo(f"{index}: no {'errors' if problems else 'problems'}")


@app.command()
def summary(index: IndexPath) -> None:
    """Count images, patients, splits, views, sexes and findings."""
    from gen.data.index import read_index
    from gen.data.summary import summary as summarise

    typer.echo(summarise(read_index(index)))


@app.command()
def merge(
    indexes: Annotated[list[Path], typer.Argument(help="index tables, .parquet or .csv")],
    out: Annotated[Path, typer.Option(help="index to write, .parquet or .csv")],
    may_ship_only: Annotated[bool, typer.Option(help="keep only rows whose licence lets weights be shared")] = False,
) -> None:
    """Put several indexes and what lies beside them together; a patient must be in the same split in all of them."""
    from gen.data.index import write_index
    from gen.data.merging import merge_beside, merged
    from gen.data.summary import summary as summarise

    table, left_out = merged(indexes, may_ship_only)
    with_it = merge_beside(indexes, table, out)
    write_index(table, out)
    told = f" and its {', '.join(with_it)}" if with_it else ""
    told += f", without the columns {', '.join(left_out)}, whose paths it could not keep" if left_out else ""
    typer.echo(f"{summarise(table)}\n\nwrote {out}{told}")


@app.command()
def label(
    index: IndexPath,
    out: Annotated[Path, typer.Option(help="index to write, .parquet or .csv")],
    overwrite: Annotated[bool, typer.Option(help="also replace findings that are known already")] = False,
) -> None:
    """Fill in findings from the reports, by rules; doubtful findings go into a column `uncertain`."""
    from gen.data.index import read_index, write_index
    from gen.data.labelling import label_table
    from gen.data.summary import summary as summarise

    table = label_table(read_index(index), str(index), keep=not overwrite)
    write_index(table, out)
    doubtful = int((table["uncertain"] != "").sum())
    typer.echo(f"{summarise(table)}\n\nwrote {out} ({doubtful} rows with doubtful findings)")


@app.command()
def label_check(
    reports: Annotated[Path, typer.Option(help="indiana_reports.csv of Open-i")],
    disagreements: Annotated[Path | None, typer.Option(help="CSV to write, one row a disagreement")] = None,
) -> None:
    """Measure the labeller against the manual codes of the Open-i reports."""
    from gen.data.label_check import as_lines, measure
    from gen.data.summary import aligned_right
    from gen.files import replacing

    measured = measure(reports)
    if disagreements:
        with replacing(disagreements) as temporary:
            measured.disagreements.to_csv(temporary, index=False)
    for half, scores in measured.scores.items():
        typer.echo(f"{half}, {measured.reports[half]} reports\n{aligned_right(as_lines(scores))}\n")
    typer.echo(f"{measured.speed:,.0f} reports a second, {len(measured.disagreements)} disagreements")


def main() -> None:
    """Entry point of the console script."""
    with exit_on_user_error():
        app()


def _column_map(pairs: list[str]) -> dict[str, str]:
    for pair in pairs:
        if "=" not in pair:
            raise UserError(f"--map {pair}: write it as INDEX_COLUMN=CSV_COLUMN")
    return dict(pair.split("=", 1) for pair in pairs)


if __name__ == "__main__":
    main()
