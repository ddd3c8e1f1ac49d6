"""cxr-eval: what synthetic radiographs are worth."""

from __future__ import annotations

import typer

from gen.errors import exit_on_user_error

app = typer.Typer(
    help="Measure synthetic chest radiographs against real ones.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.callback()
def _group() -> None:
    """Measure synthetic chest radiographs against real ones."""


def main() -> None:
    """Entry point of the console script."""
    with exit_on_user_error():
        app()
