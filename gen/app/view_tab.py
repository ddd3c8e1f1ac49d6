"""Another view of the same patient: up to three images of a study as context, an angle or named views to draw."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gen.app.answers import number, plainly, whole
from gen.app.drawings import most_steps, told_steps
from gen.app.shown import answer, radiographs
from gen.app.text_tab import ANY, VIEWS
from gen.app.uploads import FILE_TYPES, read_upload
from gen.errors import UserError

if TYPE_CHECKING:
    from gen.app.session import Session

GIVEN = 3  # images of a study
LARGEST_GUIDANCE = 10


class ViewTab:
    """A study's other views in, the view asked for out."""

    title, task = "Views", "view"

    def build(self, session: Session) -> None:
        """Questions on the left, radiographs on the right."""
        import gradio as gr

        self.session = session
        with gr.Row():
            with gr.Column(scale=5, min_width=320):
                asked, button = self._asked()
            with gr.Column(scale=6, min_width=320):
                answers = radiographs("view")

        @plainly
        def draw(*given, progress=gr.Progress()):  # noqa: B008
            return self._draw(given, progress)

        button.click(draw, asked, answers, api_visibility="private")

    def _asked(self) -> tuple[list, object]:
        import gradio as gr

        pipeline = self.session.pipeline(self.task)
        config = pipeline.config
        prompt = gr.Textbox(
            "", label="Prompt", placeholder="Cardiomegaly.", lines=2, max_length=500, elem_id="view-prompt"
        )
        wanted = gr.CheckboxGroup(list(VIEWS[1:]), value=["LATERAL"], label="Views to draw", elem_classes="chips")
        with gr.Row():
            angle = gr.Textbox("", label="or an angle, degrees", placeholder="0 PA, 90 left", max_length=6)
            seed = gr.Number(0, label="Seed", precision=0, minimum=0, maximum=2**53)
        given = []
        with gr.Accordion("The study so far (none: a new patient)", open=True):
            for place in range(GIVEN):
                with gr.Row():
                    file = gr.File(
                        file_types=FILE_TYPES,
                        label=f"Image {place + 1}",
                        elem_id=f"view-file-{place}",
                        height=140,
                        scale=2,
                        min_width=220,
                    )
                    view = gr.Dropdown(list(VIEWS), value=ANY if place else "PA", label="its view", min_width=120)
                    given += [file, view]
        with gr.Row():
            steps = gr.Slider(1, most_steps(pipeline), config.steps, step=1, label="Steps", elem_id="view-steps")
            guidance = gr.Slider(1, LARGEST_GUIDANCE, config.guidance, step=0.5, label="Guidance")
        button = gr.Button("Draw", variant="primary", elem_id="view-draw")
        return [prompt, wanted, angle, seed, steps, guidance, *given], button

    def _draw(self, given: tuple, progress) -> list:
        prompt, wanted, angle, seed, steps, guidance, *study = given
        degrees = number(angle, "angle")
        views = [None] if degrees is not None else [view for view in VIEWS if view in wanted]
        if not views:
            raise UserError("views: choose at least one, or give an angle")
        drawn = self.session.pipeline(self.task)(
            prompt.strip(),
            angle=degrees,
            views=views,
            study=_study(study),
            seed=whole(seed, "seed"),
            steps=int(steps),
            guidance=float(guidance),
            callback_on_step_end=told_steps(progress, int(steps)),
            progress=False,
        )
        return answer(self.session, drawn)


def _study(given: list) -> list:
    """Pairs of brightness and view of the files that are there."""
    pairs = zip(given[::2], given[1::2], strict=True)
    return [(read_upload(file), "" if view == ANY else view) for file, view in pairs if file]
