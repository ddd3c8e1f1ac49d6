"""Futures of a radiograph: an editor of events, a timeline of them, and what may be seen some hours later."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from gen.app.answers import number, plainly, whole
from gen.app.drawings import Drawn, most_steps
from gen.app.shown import answer, radiographs
from gen.app.uploads import FILE_TYPES, as_picture, read_upload
from gen.errors import UserError

if TYPE_CHECKING:
    from gen.app.session import Session

COLUMNS = ("hour", "code", "value", "unit")
MOST_FUTURES, LARGEST_GUIDANCE = 4, 10
WIDTH, MARGIN, ROW = 640, 40, 18  # of the timeline


class TemporalTab:
    """An earlier radiograph and what happened since in, later ones out."""

    title, task = "Futures", "temporal"

    def build(self, session: Session) -> None:
        """Questions on the left; timeline and futures on the right."""
        import gradio as gr

        self.session = session
        with gr.Row():
            with gr.Column(scale=5, min_width=320):
                asked, events, visits, button = self._asked()
            with gr.Column(scale=6, min_width=320):
                line = gr.HTML(timeline(first_events(session.pipeline(self.task)), [24.0]), elem_id="future-line")
                answers = radiographs("future")
                spread = gr.Image(label="Where the futures differ", format="png", height=240)
        told = {"outputs": line, "show_progress": "hidden", "api_visibility": "private"}
        gr.on([events.change, visits.change], plainly(_line), [events, visits], **told)
        button.click(plainly(self._predict), asked, [*answers, spread], api_visibility="private")

    def _asked(self) -> tuple[list, object, object, object]:
        import gradio as gr

        pipeline = self.session.pipeline(self.task)
        config, codes = pipeline.config, known_codes(pipeline)
        file = gr.File(label="Earlier radiograph", file_types=FILE_TYPES, elem_id="future-file", height=140)
        events = gr.Dataframe(
            headers=list(COLUMNS),
            datatype=["number", "str", "str", "str"],
            value=[list(event) for event in first_events(pipeline)],
            row_count=(1, "dynamic"),
            column_count=(len(COLUMNS), "fixed"),
            label="Events: hours after the radiograph, negative before it",
        )
        with gr.Accordion(f"{len(codes)} events that this model knows", open=False):
            gr.Markdown(", ".join(f"`{code}`" for code in codes))
        with gr.Row():
            visits = gr.Textbox("24", label="Hours later", placeholder="24, 72", elem_id="future-visits")
            count = gr.Slider(1, MOST_FUTURES, 2, step=1, label="Futures")
        prompt = gr.Textbox(
            "", label="What is known besides", placeholder="PA view of a 60-year-old man.", max_length=500
        )
        with gr.Row():
            seed = gr.Number(0, label="Seed", precision=0, minimum=0, maximum=2**53)
            steps = gr.Slider(1, most_steps(pipeline), config.steps, step=1, label="Steps", elem_id="future-steps")
            guidance = gr.Slider(1, LARGEST_GUIDANCE, 1, step=0.5, label="Weight of the events")
        button = gr.Button("Predict", variant="primary", elem_id="predict")
        return [file, events, visits, count, prompt, seed, steps, guidance], events, visits, button

    def _predict(self, file, events, visits, count, prompt, seed, steps, guidance) -> list:
        hours, prior = hours_of(visits), read_upload(file)
        found = self.session.pipeline(self.task).rollout(
            prior,
            event_rows(events),
            hours,
            n=int(count),
            prompt=prompt.strip(),
            seed=whole(seed, "seed"),
            steps=int(steps),
            guidance=float(guidance),
            progress=False,
        )
        images = [image for one in found for image in one.images]
        records = [record for one in found for record in one.records]
        told = [f"synthetic, {hour:g} h later" for hour in hours for _ in range(int(count))]
        return [*answer(self.session, Drawn(images, records), told), spread_of([one.deviation for one in found])]


def known_codes(pipeline) -> list[str]:
    """Codes of events that a model was trained with, in order."""
    return sorted(pipeline.task.conditioner.config.vocabulary or {})


def first_events(pipeline) -> list[tuple]:
    """What the editor begins with: the first event that the model knows, six hours after the radiograph."""
    return [(6, code, "", "") for code in known_codes(pipeline)[:1]]


def hours_of(text: str) -> list[float]:
    """Hours of the visits, in rising order. Errors: UserError."""
    found = [number(part, "hours later") for part in text.replace(";", ",").split(",") if part.strip()]
    if not found:
        raise UserError("hours later: give at least one, such as 24")
    return sorted({hour for hour in found if hour is not None})


def event_rows(table) -> list[tuple]:
    """Events of the editor; rows without a code are empty. Errors: UserError naming the row."""
    rows = []
    for place, (hour, code, value, unit) in enumerate(table[list(COLUMNS)].itertuples(index=False), start=1):
        if not str(code or "").strip():
            continue
        when = number(str(hour if hour is not None else ""), f"event {place}, hour")
        if when is None:
            raise UserError(f"event {place}: give its hour after the radiograph, negative before it")
        rows.append((when, str(code).strip(), number(str(value or ""), f"event {place}, value"), str(unit or "")))
    return rows


def spread_of(deviations: Sequence[np.ndarray]):
    """Standard deviation over the futures of the last visit, stretched so that its largest is white."""
    last = deviations[-1]
    return as_picture(last / max(float(last.max()), 1e-6))


def _line(events, visits: str) -> str:
    return timeline(event_rows(events), hours_of(visits))


def timeline(events: Sequence[tuple], hours: Sequence[float]) -> str:
    """Radiograph, events and visits on one axis, as SVG."""
    first, last = min([0.0, *(event[0] for event in events)]), max([*hours, *(event[0] for event in events)])
    place = lambda hour: MARGIN + (hour - first) / max(last - first, 1e-6) * (WIDTH - 2 * MARGIN)  # noqa: E731
    height = 60 + ROW * len(events)
    parts = [f'<line x1="{MARGIN}" x2="{WIDTH - MARGIN}" y1="26" y2="26" stroke="currentColor" stroke-width="2"/>']
    for hour, name in [(0.0, "radiograph"), *((hour, f"{hour:g} h") for hour in hours)]:
        x = place(hour)
        parts.append(f'<rect x="{x - 7:.0f}" y="19" width="14" height="14" rx="3" fill="#0d9488"/>')
        parts.append(f'<text x="{x:.0f}" y="12" font-size="12" text-anchor="middle" fill="currentColor">{name}</text>')
    for row, (hour, code, value, unit) in enumerate(sorted(events, key=lambda event: event[0])):
        x, y, said = place(hour), 54 + ROW * row, f"{code} {value or ''} {unit}".strip()
        side = "end" if x > WIDTH / 2 else "start"
        shift = -6 if side == "end" else 6
        parts.append(f'<line x1="{x:.0f}" x2="{x:.0f}" y1="26" y2="{y}" stroke="#d97706"/>')
        parts.append(f'<circle cx="{x:.0f}" cy="26" r="4" fill="#d97706"/>')
        parts.append(f'<text x="{x + shift:.0f}" y="{y}" font-size="12" text-anchor="{side}" fill="currentColor">')
        parts.append(f"{html.escape(said)}</text>")
    box = f'viewBox="0 0 {WIDTH} {height}" role="img" aria-label="Timeline of events and visits"'
    return f'<svg {box} style="width:100%;height:auto">{"".join(parts)}</svg>'
