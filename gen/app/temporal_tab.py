"""Futures of a radiograph: an editor of events, a timeline of them, and what may be seen some hours later."""

from __future__ import annotations

import html
from collections.abc import Container, Mapping, Sequence
from typing import TYPE_CHECKING

from gen.app.answers import number, plainly, whole
from gen.app.drawings import Drawn, most_steps, told_calls
from gen.app.shown import answer, picture, radiographs
from gen.app.uploads import FILE_TYPES, read_upload, stretched
from gen.errors import UserError

if TYPE_CHECKING:
    from gen.app.session import Session

COLUMNS = ("hour", "code", "value", "unit")
MOST_FUTURES, LARGEST_GUIDANCE = 4, 10
WIDTH, MARGIN, ROW = 640, 40, 20  # of the timeline


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
                spread = picture("Where the futures differ", 240)
        told = {"outputs": line, "show_progress": "hidden", "api_visibility": "private"}
        gr.on([events.change, visits.change], plainly(_line), [events, visits], **told)

        @plainly
        def predict(*given, progress=gr.Progress()):  # noqa: B008
            return self._predict(given, progress)

        button.click(predict, asked, [*answers, spread], api_visibility="private")

    def _asked(self) -> tuple[list, object, object, object]:
        import gradio as gr

        pipeline = self.session.pipeline(self.task)
        config, codes = pipeline.config, known_codes(pipeline)
        file = gr.File(label="Earlier radiograph", file_types=FILE_TYPES, elem_id="future-file", height=140)
        events = gr.Dataframe(
            headers=list(COLUMNS),
            datatype=["number", "str", "str", "str"],
            value=[[hour, code, _short(value), unit] for hour, code, value, unit in first_events(pipeline)],
            row_count=1,
            column_count=(len(COLUMNS), "fixed"),
            label="Events: hours after the radiograph, negative before it",
            elem_id="future-events",
        )
        add = gr.Button("Add an event", size="sm", elem_id="future-add")
        add.click(plainly(one_more), events, events, show_progress="hidden", api_visibility="private")
        with gr.Accordion(f"{len(codes)} events that this model knows", open=False):
            gr.Markdown(", ".join(f"`{code}`" + f" in {unit}" * bool(unit) for code, unit in _units(codes)))
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

    def _predict(self, given: tuple, progress) -> list:
        file, events, visits, count, prompt, seed, steps, guidance = given
        hours, prior, rows = hours_of(visits), read_upload(file), event_rows(events)
        _refuse_late(rows, hours[-1])
        pipeline = self.session.pipeline(self.task)
        with told_calls(pipeline, progress, int(steps) * len(hours)):
            found = pipeline.rollout(
                prior,
                rows,
                hours,
                n=int(count),
                prompt=prompt.strip(),
                seed=whole(seed, "seed"),
                steps=int(steps),
                guidance=float(guidance),
                progress=False,
            )
        _warn_of_strangers(rows, known_codes(pipeline))
        images = [image for one in found for image in one.images]
        records = [record for one in found for record in one.records]
        told = [f"synthetic, {hour:g} h later" for hour in hours for _ in range(int(count))]
        return [*answer(self.session, Drawn(images, records), told), stretched(found[-1].deviation)]


def known_codes(pipeline) -> dict[str, dict]:
    """Codes of events that a model was trained with, in order, each with its unit and usual value."""
    return dict(sorted((pipeline.task.conditioner.config.vocabulary or {}).items()))


def _units(codes: Mapping[str, Mapping]) -> list[tuple[str, str]]:
    return [(code, known["unit"]) for code, known in codes.items()]


def _short(value: float | None) -> str:
    return "" if value is None else f"{value:g}"


def _refuse_late(rows: Sequence[tuple], end: float) -> None:
    for hour, code, *_ in rows:
        if hour > end:
            raise UserError(
                f"event {code}: at {hour:g} h, after the last visit at {end:g} h; ask for a later one as well"
            )


def _warn_of_strangers(rows: Sequence[tuple], known: Container[str]) -> None:
    import gradio as gr

    for code in dict.fromkeys(code for _, code, _, _ in rows if code not in known):
        gr.Warning(f"event {code}: unknown to this model, which takes it for some other event", duration=None)


def first_events(pipeline) -> list[tuple]:
    """What the editor begins with: the first event that the model knows, six hours after the radiograph."""
    codes = known_codes(pipeline)
    return [(6, code, codes[code]["centre"] if unit else None, unit) for code, unit in _units(codes)[:1]]


def one_more(table) -> list[list]:
    """The editor's rows and another at the last one's hour, for its code to be typed."""
    rows = table[list(COLUMNS)].astype(object).where(table.notna(), None).values.tolist()
    return [*rows, [rows[-1][0] if rows else 0, "", "", ""]]


def hours_of(text: str) -> list[float]:
    """Hours of the visits, in rising order. Errors: UserError."""
    found = [number(part, "hours later") for part in text.replace(";", ",").split(",") if part.strip()]
    if not found:
        raise UserError("hours later: give at least one, such as 24")
    return sorted({hour for hour in found if hour is not None})


def event_rows(table) -> list[tuple]:
    """Events of the editor; rows without a code are empty. Errors: UserError naming the row."""
    rows = []
    texts = table[list(COLUMNS)].astype(object).where(table.notna(), "").astype(str)
    for place, (hour, code, value, unit) in enumerate(texts.itertuples(index=False), start=1):
        if not code.strip():
            continue
        when = number(hour, f"event {place}, hour")
        if when is None:
            raise UserError(f"event {place}: give its hour after the radiograph, negative before it")
        rows.append((when, code.strip(), number(value, f"event {place}, value"), unit.strip()))
    return rows


def _line(events, visits: str) -> str:
    return timeline(event_rows(events), hours_of(visits))


def timeline(events: Sequence[tuple], hours: Sequence[float]) -> str:
    """Radiograph, events and visits on one axis, as SVG."""
    first, last = min([0.0, *(event[0] for event in events)]), max([*hours, *(event[0] for event in events)])
    place = lambda hour: MARGIN + (hour - first) / max(last - first, 1e-6) * (WIDTH - 2 * MARGIN)  # noqa: E731
    height = 70 + ROW * len(events)
    parts = [f'<line x1="{MARGIN}" x2="{WIDTH - MARGIN}" y1="34" y2="34" stroke="currentColor" stroke-width="2"/>']
    for hour, name in [(0.0, "radiograph"), *((hour, f"{hour:g} h") for hour in hours)]:
        x = place(hour)
        parts.append(f'<rect x="{x - 7:.0f}" y="27" width="14" height="14" rx="3" fill="#0d9488"/>')
        parts.append(_text(x - 7, 20, "start", name) if x <= MARGIN else _text(x + 7, 20, "end", name))
    places = [(place(hour), 66 + ROW * row, words) for row, (hour, words) in enumerate(_in_order(events))]
    for x, y, _ in places:
        parts.append(f'<line x1="{x:.0f}" x2="{x:.0f}" y1="34" y2="{y}" stroke="#d97706"/>')
        parts.append(f'<circle cx="{x:.0f}" cy="34" r="4" fill="#d97706"/>')
    for x, y, words in places:  # after all lines, so that none goes through a word
        parts.append(_text(x - 6, y, "end", words) if x > WIDTH / 2 else _text(x + 6, y, "start", words))
    box = f'viewBox="0 0 {WIDTH} {height}" role="img" aria-label="Timeline of events and visits"'
    return f'<svg {box} style="width:100%;height:auto">{"".join(parts)}</svg>'


def _in_order(events: Sequence[tuple]) -> list[tuple[float, str]]:
    """Hour of each event and what is written of it."""
    said = [
        (hour, f"{code} {_short(value)} {unit}" if _short(value) else str(code)) for hour, code, value, unit in events
    ]
    return sorted((hour, words.strip()) for hour, words in said)


def _text(x: float, y: float, anchor: str, words: str) -> str:
    return f'<text x="{x:.0f}" y="{y}" text-anchor="{anchor}" fill="currentColor">{html.escape(words)}</text>'
