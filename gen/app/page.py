"""The page's frame: notice, tabs and looks. A tab is a class in a file of its own and a name in `TABS`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from gen.app.bone_tab import BoneTab
from gen.app.inspect_tab import InspectTab
from gen.app.report_tab import ReportTab
from gen.app.temporal_tab import TemporalTab
from gen.app.text_tab import TextTab
from gen.app.view_tab import ViewTab
from gen.provenance import NOTICE

if TYPE_CHECKING:
    import gradio

    from gen.app.session import Session

STYLE = Path(__file__).with_name("page.css")


class Tab(Protocol):
    """One tab: its title, the task whose model it needs ("" for none), and its components, laid out by `build`."""

    title: str
    task: str

    def build(self, session: Session) -> None: ...


TABS: tuple[type[Tab], ...] = (TextTab, ViewTab, TemporalTab, BoneTab, InspectTab, ReportTab)


def build_page(session: Session) -> gradio.Blocks:
    """The page with a tab for every task that has a model here."""
    import gradio as gr

    with gr.Blocks(title="cxr-gen", analytics_enabled=False, delete_cache=(3600, 3600), fill_width=True) as page:
        gr.HTML(f'<div class="notice" role="note">{NOTICE}.</div>', elem_id="notice")
        gr.HTML("<h1>cxr-gen</h1><p>Synthetic chest radiographs, drawn and judged on this machine.</p>")
        with gr.Tabs():
            for kind in TABS:
                if kind.task in ("", *session.models):
                    with gr.Tab(kind.title):
                        kind().build(session)
    return page


def look() -> dict:
    """Theme and style sheet, with fonts of the reader's own machine."""
    import gradio as gr

    sans, mono = ("system-ui", "Segoe UI", "Helvetica", "sans-serif"), ("ui-monospace", "Consolas", "monospace")
    theme = gr.themes.Base(primary_hue="teal", neutral_hue="slate", radius_size="sm", font=sans, font_mono=mono)
    dark = {"color_accent": "*primary_700", "button_primary_background_fill": "*primary_700"}  # white is read on it
    return {"theme": theme.set(**dark), "css": STYLE.read_text()}
