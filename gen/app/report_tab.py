"""An evaluation: measured by `cxr-eval report` in a process of its own, or a finished page looked at."""

from __future__ import annotations

import html
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from gen.app.answers import plainly
from gen.errors import UserError, plain_line

if TYPE_CHECKING:
    from gen.app.session import Session

PARTS = ("report", "fidelity", "alignment", "privacy", "fairness")
WHOLE = ("fidelity", "alignment", "utility", "privacy", "fairness")  # sections of a report; each says "NAME ..." first
LARGEST = 64 * 2**20  # bytes of a page
LINES = 12  # of progress, shown
# cxr-eval, wherever its script lies: line by line, and with no word on figures that too few images leave open
COMMAND = ("-u", "-W", "ignore", "-c", "from gen.eval.cli import main; main()")


class ReportTab:
    """What a synthetic set is worth."""

    title, task = "Evaluation", ""

    def build(self, session: Session) -> None:
        """A finished page, or the paths of two sets to measure; strangers may not name this machine's paths."""
        import gradio as gr

        self.session = session
        gr.Markdown(
            "Fidelity, alignment, privacy and fairness of a synthetic set, each beside its real-against-real floor."
        )
        with gr.Row():
            with gr.Column(min_width=320):
                finished = gr.File(
                    label="A finished report.html", file_types=[".html"], elem_id="report-file", height=140
                )
            with gr.Column(min_width=320, visible=not session.shared):
                real = gr.Textbox(label="Index of real radiographs", placeholder="index.parquet", elem_id="report-real")
                made = gr.Textbox(label="Synthetic set", placeholder="folder with manifest", elem_id="report-made")
                part = gr.Dropdown(list(PARTS), value="report", label="What to measure")
                button = gr.Button("Measure", variant="primary", elem_id="measure")
        said = gr.Textbox(label="Progress", lines=3, max_lines=LINES, interactive=False, elem_id="report-said")
        page, download = (
            gr.HTML(elem_classes="report", min_height=90),
            gr.DownloadButton("Download the page", interactive=False),
        )
        outputs = [said, page, download]
        finished.upload(plainly(show_page), finished, outputs, api_visibility="private")
        if not session.shared:
            # an iterator of answers: each line of the command's own progress as it comes
            given = [real, made, part]
            button.click(self._handler(), given, outputs, show_progress_on=page, api_visibility="private")

    def _handler(self):
        import gradio as gr

        def measured(real, made, part, progress=gr.Progress()):  # noqa: B008
            try:
                yield from self._lines_then_page(real, made, part, progress)
            except UserError as error:
                raise gr.Error(plain_line(str(error)), duration=None, print_exception=False) from None

        return measured

    def _lines_then_page(self, real: str, made: str, part: str, progress) -> Iterator[tuple]:
        import gradio as gr

        if not real.strip() or not made.strip():
            raise UserError("give the index of real radiographs and the folder of the synthetic set")
        out, lines = self.session.new_folder("report"), [f"cxr-eval {part} ..."]
        yield lines[0], gr.skip(), gr.skip()
        sections = WHOLE if part == "report" else (part,)
        progress((0, len(sections)), desc="Reading", unit="sections")
        command = [sys.executable, *COMMAND, part, "--real", real.strip(), "--synthetic", made.strip()]
        with subprocess.Popen(
            [*command, "--out", str(out)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
        ) as process:
            try:
                for line in process.stdout or ():
                    lines.append(line.rstrip())
                    if lines[-1].removesuffix(" ...") in sections:
                        done = sections.index(lines[-1].removesuffix(" ..."))
                        progress((done, len(sections)), desc=sections[done].capitalize(), unit="sections")
                    yield "\n".join(lines[-LINES:]), gr.skip(), gr.skip()
            except GeneratorExit:  # the visitor has left
                process.terminate()
                raise
        if process.returncode:
            raise UserError(lines[-1].removeprefix("error: "))
        yield show_page(str(out / "report.html"))


def show_page(path: str) -> tuple:
    """Progress, frame and download of a report; the frame runs no script and fetches nothing.

    Errors: UserError for what is no page of cxr-eval.
    """
    import gradio as gr

    file = Path(path)
    if file.stat().st_size > LARGEST:
        raise UserError(f"{file.name}: larger than {LARGEST // 2**20} MB; open it in the browser itself")
    text = file.read_text(encoding="utf-8", errors="replace")
    if 'id="verdict"' not in text:
        raise UserError(f"{file.name}: not a page of cxr-eval; choose the report.html that it wrote")
    frame = f'<iframe title="Evaluation report" sandbox srcdoc="{html.escape(text)}"></iframe>'
    return f"{file.name}, {len(text) // 1024} kB", frame, gr.DownloadButton(value=file, interactive=True)
