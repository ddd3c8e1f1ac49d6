"""cxr-app: the suite as a page on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from gen.errors import UserError, exit_on_user_error
from gen.examples import add_examples

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def serve(
    model: Annotated[
        list[str] | None,
        typer.Option(help="model folder or hub id, repeatable, one a task; the shipped models if left out"),
    ] = None,
    index: Annotated[
        Path | None,
        typer.Option(help="index of the radiographs a model was trained on: shows the nearest beside each drawing"),
    ] = None,
    port: Annotated[int, typer.Option(help="of the page; 0 takes a free one", min=0, max=65535)] = 7860,
    share: Annotated[
        bool, typer.Option(help="also open a public link through Gradio's servers; whoever has it can draw here")
    ] = False,
    device: Annotated[Literal["auto", "cpu", "cuda"], typer.Option(help="auto takes a GPU if there is one")] = "auto",
    upload_limit: Annotated[int, typer.Option(help="largest file that is taken, MB", min=1)] = 64,
) -> None:
    """Open a page that draws synthetic radiographs, checks files and shows evaluation reports.

    It listens on this machine only (127.0.0.1) and sends nothing anywhere. Stop it with Ctrl-C.
    """
    try:
        import gradio  # noqa: F401
    except ImportError:
        raise UserError("cxr-app needs gradio; install it with: pip install 'cxr-gen[app]'") from None
    from gen.app.serving import serve_page
    from gen.app.session import open_session

    with open_session(model or [], index, device, shared=share) as session:
        serve_page(session, port, share, upload_limit)


add_examples(app, "cxr-app")


def main() -> None:
    """Entry point of the console script."""
    with exit_on_user_error():
        app()


if __name__ == "__main__":
    main()
