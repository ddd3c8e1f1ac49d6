"""What every drawing tab shows: radiographs with captions, download buttons, records."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from gen.app.drawings import Drawn, write_files

if TYPE_CHECKING:
    from gradio import Image

    from gen.app.session import Session


def radiographs(name: str, columns: int = 2) -> list:
    """The components: gallery, prompts as drawn, download buttons, records; `name` tells one tab's from another's."""
    import gradio as gr

    images = gr.Gallery(
        label="Synthetic radiographs",
        columns=columns,
        object_fit="contain",
        height="auto",
        elem_id=f"{name}-images",
        elem_classes="radiographs",
        buttons=["download", "download_all", "fullscreen"],  # files with their record; and no link to other places
    )
    said = gr.Markdown(elem_id=f"{name}-said")
    with gr.Row():
        png = gr.DownloadButton("Download PNG", interactive=False, elem_id=f"{name}-png")
        dicom = gr.DownloadButton("Download DICOM", interactive=False, elem_id=f"{name}-dicom")
    with gr.Accordion("Records: how to draw these again", open=False):
        records = gr.Code(language="json", wrap_lines=True, show_label=False)
    return [images, said, png, dicom, records]


def picture(label: str, height: int) -> Image:
    """A picture to look at, without buttons that would save it without a record or send it elsewhere."""
    import gradio as gr

    return gr.Image(label=label, format="png", height=height, elem_classes="radiographs", buttons=["fullscreen"])


def answer(session: Session, drawn: Drawn, captions: Sequence[str] = ()) -> list:
    """Values for `radiographs`; without captions an image is told by its seed."""
    import gradio as gr

    files = write_files(drawn, session.new_folder("drawn"))
    told = captions or [f"synthetic, seed {record.seed}" for record in drawn.records]
    buttons = [gr.DownloadButton(value=path, interactive=path is not None) for path in (files.png, files.dicom)]
    records = json.dumps([asdict(record) for record in drawn.records], indent=1)
    said = dict.fromkeys(record.prompt for record in drawn.records if record.prompt)
    prompts = "  \n".join(f"Drawn: *{prompt}*" for prompt in said)
    return [list(zip(files.shown, told, strict=True)), prompts, *buttons, records]
