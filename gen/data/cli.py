"""cxr-index: build, check and summarise the index table of radiographs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gen.errors import UserError, exit_on_user_error

if TYPE_CHECKING:
    import pandas as pd

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
        str, typer.Argument(help="a known data set (nih_cxr14 ...), `auto` to tell by folder name, or `folder` for any")
    ],
    folders: Annotated[list[Path], typer.Argument(help="one or more folders of that source")],
    out: Annotated[Path, typer.Option(help="index to write, .parquet or .csv")] = Path("index.parquet"),
    csv: Annotated[Path | None, typer.Option(help="table of the images (source `folder`)")] = None,
    map_: Annotated[
        list[str] | None, typer.Option("--map", help="index column=CSV column, e.g. view=ViewPosition; repeatable")
    ] = None,
    skip_missing: Annotated[bool, typer.Option(help="leave out CSV rows without an image file")] = False,
    may_ship_only: Annotated[bool, typer.Option(help="keep only rows whose licence lets weights be shared")] = False,
) -> None:
    """Build an index from data folders."""
    import pandas as pd

    from gen.data.index import validate, write_index
    from gen.data.summary import summary

    if out.suffix.lower() not in (".parquet", ".csv"):
        raise UserError(f"--out {out}: the index is a .parquet or .csv file")
    columns = _column_map(map_ or [])
    if source != "folder" and (csv or columns or skip_missing):
        raise UserError(f"--csv, --map and --skip-missing belong to the source `folder`, not to {source!r}")
    tables = [_rows(source, folder, csv, columns, skip_missing) for folder in folders]
    table = pd.concat(tables, ignore_index=True)
    if may_ship_only:
        table = table.loc[table["may_ship"]].reset_index(drop=True)
    validate(table, out, files=True)
    write_index(table, out)
    typer.echo(f"{summary(table)}\n\nwrote {out}")


@app.command()
def check(index: IndexPath) -> None:
    """List every problem of an index: columns, values, missing files, patients in two splits."""
    from gen.data.index import check_index, load_table

    problems = check_index(load_table(index))
    for problem in problems[:SHOWN_PROBLEMS]:
        typer.echo(problem)
    if problems:
        raise UserError(f"{index}: {len(problems)} problems; correct the table or build it again")
    typer.echo(f"{index}: no problems")


@app.command()
def summary(index: IndexPath) -> None:
    """Count images, patients, splits, views, sexes and findings."""
    from gen.data.index import read_index
    from gen.data.summary import summary as summarise

    typer.echo(summarise(read_index(index)))


def main() -> None:
    """Entry point of the console script."""
    with exit_on_user_error():
        app()


def _rows(source: str, folder: Path, csv: Path | None, columns: dict[str, str], skip_missing: bool) -> pd.DataFrame:
    from gen.data.sources import SOURCES
    from gen.data.sources import folder as any_folder

    if source == "folder":
        return any_folder.rows(folder, csv, columns, skip_missing)
    name = folder.absolute().name if source == "auto" else source
    if name not in SOURCES:
        raise UserError(f"unknown source {name!r}; choose from {', '.join(SOURCES)}, auto, folder")
    return SOURCES[name](folder)


def _column_map(pairs: list[str]) -> dict[str, str]:
    for pair in pairs:
        if "=" not in pair:
            raise UserError(f"--map {pair}: write it as INDEX_COLUMN=CSV_COLUMN")
    return dict(pair.split("=", 1) for pair in pairs)


if __name__ == "__main__":
    main()
