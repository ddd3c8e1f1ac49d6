"""Draw from words: prompt, finding chips, view, age, sex, seed and steps; records and files of what was drawn."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gen.app.answers import number, plainly, whole
from gen.app.drawings import most_steps, told_steps
from gen.app.shown import answer, radiographs

if TYPE_CHECKING:
    from gen.app.session import Session

EXAMPLES = {  # by what is written on their buttons, which cut what is longer than 60 characters
    "31-year-old woman, no acute findings": "PA chest radiograph of a 31-year-old woman with no acute findings.",
    "74-year-old man, large heart and edema": "AP chest radiograph of a 74-year-old man with cardiomegaly and "
    "pulmonary edema.",
    "3-year-old child, bacterial pneumonia": "AP chest radiograph of a 3-year-old child with bacterial pneumonia.",
    "59-year-old woman, pleural effusion": "PA chest radiograph of a 59-year-old woman with a pleural effusion.",
}
CHIPS = ("No Finding", "Cardiomegaly", "Pleural Effusion", "Edema", "Consolidation", "Pneumonia")
CHIPS += ("Atelectasis", "Pneumothorax", "Mass", "Nodule", "Support Devices")
ANY = "any"  # whatever the prompt says
VIEWS = (ANY, "PA", "AP", "AP SUPINE", "LATERAL")
SEXES = ((ANY, ""), ("woman", "F"), ("man", "M"))
OPENING = "Chest radiograph with "
MOST_IMAGES, LARGEST_GUIDANCE = 4, 10


class TextTab:
    """Prompt in, radiographs out."""

    title, task = "Draw", "text"

    def build(self, session: Session) -> None:
        """Questions on the left, radiographs on the right."""
        import gradio as gr

        self.session, self.training = session, None
        with gr.Row():
            with gr.Column(scale=5, min_width=320):
                asked, button = self._asked()
            with gr.Column(scale=6, min_width=320):
                answers = self._answers()
        event = {"fn": self._handler(), "inputs": asked, "outputs": answers, "api_visibility": "private"}
        gr.on([button.click, asked[0].submit], **event)

    def _asked(self) -> tuple[list, object]:
        import gradio as gr

        pipeline = self.session.pipeline(self.task)
        config, (first, *_) = pipeline.config, EXAMPLES.values()
        prompt = gr.Textbox(first, label="Prompt", lines=2, max_lines=4, max_length=500, elem_id="prompt")
        chips = gr.CheckboxGroup(list(CHIPS), label="Findings, put into words for you", elem_classes="chips")
        chips.input(_in_words, chips, prompt, show_progress="hidden", api_visibility="private")
        with gr.Row():
            view = gr.Dropdown(list(VIEWS), value=ANY, label="View", min_width=120)
            sex = gr.Dropdown(list(SEXES), value="", label="Sex", min_width=120)
            age = gr.Textbox("", label="Age, years", placeholder=ANY, max_length=5, min_width=100, elem_id="age")
        with gr.Row():
            seed = gr.Number(0, label="Seed", precision=0, minimum=0, maximum=2**53, min_width=100)
            count = gr.Slider(1, MOST_IMAGES, 2, step=1, label="Images", min_width=120, elem_id="images")
        with gr.Row():
            steps = gr.Slider(
                1, most_steps(pipeline), config.steps, step=1, label="Steps", min_width=120, elem_id="steps"
            )
            guidance = gr.Slider(1, LARGEST_GUIDANCE, config.guidance, step=0.5, label="Guidance", min_width=120)
        button = gr.Button("Draw", variant="primary", elem_id="draw")
        prompts = [[text] for text in EXAMPLES.values()]
        gr.Examples(prompts, [prompt], label="Examples", example_labels=list(EXAMPLES), api_visibility="private")
        return [prompt, view, sex, age, seed, count, steps, guidance], button

    def _answers(self) -> list:
        import gradio as gr

        answers = radiographs("text")
        if self.session.index is not None:
            near = gr.Gallery(
                label="Nearest training radiographs",
                columns=2,
                object_fit="contain",
                height="auto",
                elem_id="text-nearest",
                elem_classes="radiographs",
                buttons=["fullscreen"],
            )
            answers.append(near)
        return answers

    def _handler(self):
        import gradio as gr

        @plainly
        def draw(prompt, view, sex, age, seed, count, steps, guidance, progress=gr.Progress()):  # noqa: B008
            return self._draw(prompt, view, sex, age, seed, count, steps, guidance, progress)

        return draw

    def _draw(self, prompt, view, sex, age, seed, count, steps, guidance, progress) -> list:

        drawn = self.session.pipeline(self.task)(
            str(prompt).strip(),
            view=None if view == ANY else view,
            sex=sex or None,
            age=number(age, "age"),
            seed=whole(seed, "seed"),
            num_images_per_prompt=int(count),
            steps=int(steps),
            guidance=float(guidance),
            callback_on_step_end=told_steps(progress, int(steps)),
            progress=False,
        )
        near = [] if self.session.index is None else [self._nearest(drawn, progress)]
        return [*answer(self.session, drawn), *near]

    def _nearest(self, drawn, progress) -> list:
        from gen.app.nearest import Training

        if self.training is None:
            self.training = Training.read(self.session.index, progress)
        return self.training.nearest(drawn.images)


def _in_words(chips: list[str]) -> str:
    """The chosen findings as a sentence: "Cardiomegaly and a pleural effusion." """
    from gen.data.prompts import prompt_from_row

    said = prompt_from_row({"findings": ";".join(chips)}) if chips else ""
    words = said.removeprefix(OPENING)
    return words[:1].upper() + words[1:]
