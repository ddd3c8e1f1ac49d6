"""cxr-sample follow-ups: the later images of held-out patients, drawn from their priors and events, for `cxr-eval`."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gen.files import replacing

from .follow_pairs import fingerprint, held_out_pairs, prepared, unread
from .models import Compiled, InDtype, LowMemory, OfAttention, OnDevice, Revision, load_pipeline, settings_of
from .settings import claim

if TYPE_CHECKING:
    import pandas as pd

    from gen import CXRPipeline

RIGHT, WRONG, SETTINGS = "generated", "generated_wrong", "follow_ups.json"
SHOWN = 12
CARRIED = ("gap_hours", "prior_findings", "events", "events_wrong", "study_id", "prior_study", "view", "sex", "age")


@dataclass(frozen=True)
class Plan:
    """What is drawn: N pairs with a prior, their own events and another patient's, and how."""

    pairs: pd.DataFrame
    out: Path
    seed: int
    steps: int | None
    guidance: float
    futures: int = 1

    def file(self, row: dict, kind: str) -> Path:
        """Where a drawing is."""
        return self.out / "images" / f"{row['name']}_{kind}.png"

    @property
    def kinds(self) -> dict[str, int]:
        """The kinds of drawings of every pair, and how far their seeds lie from the first one's."""
        more = {f"{RIGHT}_{number + 1}": number * len(self.pairs) for number in range(1, self.futures)}
        return {RIGHT: 0, WRONG: 0} | more


def follow_ups(
    index: Annotated[Path, typer.Option(help="index with patients' series")],
    model: Annotated[str, typer.Option(help="folder of a temporal model, or hub id")],
    out: Annotated[Path, typer.Option(help="folder to write into; the same command again goes on")],
    events: Annotated[Path | None, typer.Option(help="events table; beside the index if left out")] = None,
    history: Annotated[
        float, typer.Option(min=0, help="hours before the prior from which events count, as in training")
    ] = 0,
    split: Annotated[
        str, typer.Option(help="split whose patients are new to the model, or several with commas")
    ] = "test",
    source: Annotated[str | None, typer.Option(help="data set of the index, or several with commas")] = None,
    consecutive: Annotated[
        bool, typer.Option("--consecutive", help="only an image and the next one; else every earlier one is a prior")
    ] = False,
    n: Annotated[int | None, typer.Option(min=1, help="pairs at most, at random; all if left out")] = None,
    futures: Annotated[int, typer.Option(min=1, help="drawings of every pair, for `cxr-eval spread`")] = 1,
    seed: Annotated[int, typer.Option(help="of the first image, and of the exchange of events")] = 0,
    steps: Annotated[int | None, typer.Option(min=1, help="sampling steps; the model's own number if left out")] = None,
    guidance: Annotated[float, typer.Option(min=0, help="over 1 strengthens the events")] = 1.0,
    batch_size: Annotated[int, typer.Option(min=1, help="images drawn at once")] = 8,
    revision: Revision = None,
    device: OnDevice = "auto",
    dtype: InDtype = "auto",
    attention: OfAttention = "sdpa",
    compiled: Compiled = "off",
    low_memory: LowMemory = False,
) -> None:
    """Draw every later image of a split from its prior with its own events and, same seed, with another patient's.

    Writes follow_ups.csv, which `cxr-eval temporal`, `sizes` and, with several futures, `spread` read, and strips.png.
    """
    from gen.schema.tasks import FollowConfig

    pairs = held_out_pairs(index, events, FollowConfig(history=history, consecutive=consecutive), split, source)
    pairs = prepared(pairs, n, seed)
    pipeline = load_pipeline(model, revision, device, dtype, attention, compiled, low_memory)
    for line in unread(pairs["events"], pipeline):
        typer.echo(line, err=True)
    plan = Plan(pairs, out, seed, steps, guidance, futures)
    claim(out / SETTINGS, {**settings_of(pipeline, steps, guidance), "seed": seed, "pairs": fingerprint(pairs)})
    draw_pairs(pipeline, plan, batch_size)
    write_pairs(plan)
    write_strips(plan, pipeline.config.name)
    typer.echo(f"{len(pairs)} pairs, {(pairs['events'] != '[]').sum()} with events, in {out / 'follow_ups.csv'}")
    typer.echo(f"look at {out / 'strips.png'}; judge with: cxr-eval temporal --table {out / 'follow_ups.csv'}")


def draw_pairs(pipeline: CXRPipeline, plan: Plan, batch_size: int) -> None:
    """Draw what is not there yet; a pair's drawings with its own and with other events have the same seed."""
    import torch
    from PIL import Image
    from tqdm import tqdm

    from gen.calls.temporal import pair_batch
    from gen.data.images import from_model
    from gen.provenance import save_png

    rows = plan.pairs.to_dict("records")
    wanted = [(number, row, kind) for number, row in enumerate(rows) for kind in plan.kinds]
    wanted = [one for one in wanted if not plan.file(one[1], one[2]).is_file()]
    for first in tqdm(range(0, len(wanted), batch_size), desc="draw", unit="batch"):
        part = wanted[first : first + batch_size]
        cells = [row["events_wrong" if kind == WRONG else "events"] for _, row, kind in part]
        seeds = [plan.seed + number + plan.kinds[kind] for number, _, kind in part]
        batch = pair_batch(pipeline, [row for _, row, _ in part], cells)
        with torch.no_grad():
            drawn = pipeline.draw(batch, seeds, plan.steps, plan.guidance, "np", progress=False)
        for (_, row, kind), pixels, record in zip(part, drawn.images, drawn.records, strict=True):
            save_png(Image.fromarray(from_model(pixels * 2 - 1)), record, plan.file(row, kind))


def write_pairs(plan: Plan) -> None:
    """The table of pairs, with paths relative to it."""
    table = plan.pairs.rename(columns={"image": "target", "patient_id": "patient"})
    table = table.assign(findings=table["target_findings"])
    for kind in plan.kinds:
        table[kind] = [str(plan.file(row, kind)) for row in plan.pairs.to_dict("records")]
    for column in ("prior", "target", *plan.kinds):
        table[column] = [os.path.relpath(path, plan.out) for path in table[column]]
    columns = ["prior", "target", *plan.kinds, "findings", "patient", *(name for name in CARRIED if name in table)]
    with replacing(plan.out / "follow_ups.csv") as temporary:
        table[columns].to_csv(temporary, index=False)


def write_strips(plan: Plan, model: str) -> None:
    """Prior, drawing, truth, and the drawing with another patient's events, a pair each of some patients."""
    from PIL import Image

    from gen.data.images import from_model, model_pixels

    from .contact import TILE, Group, contact_sheet

    groups = []
    for row in _shown(plan.pairs):
        files = [row["prior"], plan.file(row, RIGHT), row["image"], plan.file(row, WRONG)]
        images = [Image.fromarray(from_model(model_pixels(str(file), TILE))) for file in files]
        groups.append(Group(_label(row), "prior | drawn | truth | drawn with another patient's events", images))
    title = "Follow-ups of held-out patients; drawings are synthetic"
    with replacing(plan.out / "strips.png") as temporary:
        contact_sheet(groups, title, f"Model {model}.", columns=2).save(temporary, format="PNG", optimize=True)


def _shown(pairs: pd.DataFrame) -> list[dict]:
    """A pair each of so many patients: with events, with findings to change, and far apart where there are such."""
    rows = pairs.to_dict("records")
    rows.sort(key=lambda row: (row["events"] == "[]", row["prior_findings"] in ("", "No Finding"), -_hours(row)))
    return list({row["patient_id"]: row for row in reversed(rows)}.values())[::-1][:SHOWN]


def _hours(row: dict) -> float:
    return 0.0 if math.isnan(row["gap_hours"]) else row["gap_hours"]


def _label(row: dict) -> str:
    from gen.data.events import read_cell

    gap = "unknown hours" if math.isnan(row["gap_hours"]) else f"{row['gap_hours']:g} h"
    said = ", ".join(f"{e.words()} {e.before:.0f} h before" for e in read_cell(row["events"])) or "no events"
    return f"{row['prior_findings'] or 'findings unknown'}; {gap}; {said}"
