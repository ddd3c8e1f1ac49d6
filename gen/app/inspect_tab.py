"""What a file is: whether it says that it is synthetic and how it was made, and what the shipped reader sees in it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from gen.app.answers import plainly
from gen.app.shown import picture
from gen.app.uploads import FILE_TYPES, as_picture, read_upload, record_of, torch_image

if TYPE_CHECKING:
    from torch import Tensor

    from gen.app.session import Session

SIDE = 256  # pixels at which the judges look
SHOWN = 6  # findings
UNMARKED = "This file does not say that it is synthetic. It may be a patient's: treat it so."


class InspectTab:
    """A radiograph in, what is known of it out."""

    title, task = "Check a file", ""

    def build(self, session: Session) -> None:
        """An upload on the left; picture, record and readings on the right."""
        import gradio as gr

        with gr.Row():
            with gr.Column(scale=4, min_width=320):
                gr.Markdown("Is it synthetic, and how was it made? PNG, JPEG, TIFF or DICOM; it stays on this machine.")
                file = gr.File(label="Radiograph", file_types=FILE_TYPES, elem_id="check-file")
                said = gr.Markdown(elem_id="check-said")
                read = gr.Label(
                    label="What the shipped reader sees (no diagnosis)", num_top_classes=SHOWN, show_heading=False
                )
            with gr.Column(scale=5, min_width=320):
                image = picture("As it is shown", 420)
                record = gr.Code(language="json", wrap_lines=True, label="Record", visible=False)
        file.upload(plainly(inspect), file, [image, said, record, read], api_visibility="private")
        file.clear(_nothing, None, [image, said, record, read], api_visibility="private")


def inspect(path: str) -> tuple:
    """Picture, sentence, record and readings of an uploaded file. Errors: UserError as of `read_upload`."""
    import gradio as gr

    pixels = read_upload(path)
    record = record_of(path)
    made = UNMARKED if record is None else f"**Synthetic**: drawn by {record.get('model')}, seed {record.get('seed')}."
    square = torch_image(pixels, SIDE)
    shown = gr.Code(value=json.dumps(record, indent=1), visible=record is not None)
    return as_picture(pixels), f"{made} {_doubt(square)}".strip(), shown, _readings(square)


def _nothing() -> tuple:
    import gradio as gr

    return None, "", gr.Code(visible=False), None


def _doubt(square: Tensor) -> str:
    from gen.judges.sanity import sanity

    reason = sanity(square).reason[0]
    return f"It does not look like a frontal chest radiograph ({reason})." if reason else ""


def _readings(square: Tensor) -> dict[str, float]:
    from gen.judges.reader import Reader

    reader = Reader.load()
    return dict(zip(reader.labels, reader.read(square).findings[0].tolist(), strict=True))
