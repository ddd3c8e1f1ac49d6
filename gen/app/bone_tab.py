"""Bones taken out of a radiograph: before and after under a slider, what was removed, and files with a record."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from gen.app.answers import plainly, whole
from gen.app.drawings import Drawn, most_steps, told_calls, write_files
from gen.app.shown import picture
from gen.app.uploads import FILE_TYPES, as_picture, read_upload, stretched
from gen.calls.bone_looks import LOOKS
from gen.errors import UserError

if TYPE_CHECKING:
    from gen.app.session import Session


class BoneTab:
    """A radiograph in, its soft tissue out."""

    title, task = "Bones", "bone"

    def build(self, session: Session) -> None:
        """An upload on the left, the slider on the right."""
        import gradio as gr

        self.session, pipeline = session, session.pipeline(self.task)
        with gr.Row():
            with gr.Column(scale=4, min_width=320):
                gr.Markdown("A frontal radiograph of any size; the soft-tissue image keeps its size and its detail.")
                file = gr.File(label="Radiograph", file_types=FILE_TYPES, elem_id="bone-file")
                with gr.Row():
                    seed = gr.Number(0, label="Seed", precision=0, minimum=0, maximum=2**53, min_width=100)
                    steps = gr.Slider(
                        1,
                        most_steps(pipeline),
                        pipeline.config.steps,
                        step=1,
                        label="Steps",
                        min_width=120,
                        elem_id="bone-steps",
                    )
                anyway = gr.Checkbox(label="Even if it does not look like a frontal radiograph", elem_id="bone-anyway")
                button = gr.Button("Suppress bones", variant="primary", elem_id="suppress")
            with gr.Column(scale=6, min_width=320):
                both = gr.ImageSlider(
                    label="Radiograph, and without bones (synthetic)",
                    format="png",
                    max_height=560,
                    elem_id="bone-both",
                    elem_classes="radiographs",
                    buttons=["fullscreen"],
                )
                removed = picture("What was removed, stretched", 260)
                with gr.Row():
                    png = gr.DownloadButton("Download PNG", interactive=False, elem_id="bone-png")
                    dicom = gr.DownloadButton("Download DICOM", interactive=False)
                with gr.Accordion("Record", open=False):
                    record = gr.Code(language="json", wrap_lines=True, show_label=False)
        answers = [both, removed, png, dicom, record]

        @plainly
        def suppress(file, seed, steps, anyway, progress=gr.Progress()):  # noqa: B008
            return self._suppress(file, whole(seed, "seed"), int(steps), bool(anyway), progress)

        button.click(suppress, [file, seed, steps, anyway], answers, api_visibility="private")

    def _suppress(self, file: str, seed: int, steps: int, anyway: bool, progress) -> list:
        import gradio as gr

        pixels = read_upload(file)
        pipeline = self.session.pipeline(self.task)
        try:
            with told_calls(pipeline, progress, steps * len(LOOKS)):
                found = pipeline.suppress_bones(pixels, steps=steps, seed=seed, anyway=anyway)
        except UserError as error:  # which counts the images of a call
            raise UserError(str(error).replace("image 0", Path(file).name)) from None
        for warning in found.warnings:
            gr.Warning(warning)
        soft = as_picture(found.soft)
        files = write_files(Drawn([soft], [found.record]), self.session.new_folder("bones"))
        given = [gr.DownloadButton(value=path, interactive=path is not None) for path in (files.png, files.dicom)]
        pair, removed = (as_picture(pixels), soft), stretched(abs(found.removed))
        return [pair, removed, *given, json.dumps(asdict(found.record), indent=1)]
