"""cxr-sample follow-ups: the later images of held-out patients, drawn from their priors and events, for `cxr-eval`."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer

from gen.errors import UserError
from gen.files import replacing

from .models import Device, load_pipeline

if TYPE_CHECKING:
    import pandas as pd

    from gen import CXRPipeline

RIGHT, WRONG = "generated", "generated_wrong"
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

    def file(self, row: dict, kind: str) -> Path:
        """Where a drawing is."""
        return self.out / "images" / f"{row['name']}_{kind}.png"


def follow_ups(
    index: Annotated[Path, typer.Option(help="index with patients' series")],
    model: Annotated[str, typer.Option(help="folder of a temporal model, or hub id")],
    out: Annotated[Path, typer.Option(help="folder to write into; the same command again goes on")],
    events: Annotated[Path | None, typer.Option(help="events table; beside the index if left out")] = None,
    history: Annotated[float, typer.Option(help="hours before the prior from which events count, as in training")] = 0,
    split: Annotated[
        str, typer.Option(help="split whose patients are new to the model, or several with commas")
    ] = "test",
    n: Annotated[int | None, typer.Option(help="pairs at most, at random; all if left out")] = None,
    seed: Annotated[int, typer.Option(help="of the first image, and of the exchange of events")] = 0,
    steps: Annotated[int | None, typer.Option(help="sampling steps; the model's own number if left out")] = None,
    guidance: Annotated[float, typer.Option(help="over 1 strengthens the events")] = 1.0,
    batch_size: Annotated[int, typer.Option(help="images drawn at once")] = 8,
    device: Annotated[Device, typer.Option(help="where to compute; auto takes a GPU if there is one")] = "auto",
) -> None:
    """Draw every later image of a split from its prior with its own events and, same seed, with another patient's.

    Writes follow_ups.csv, which `cxr-eval temporal` and `cxr-eval sizes` read, and strips.png.
    """
    pairs = held_out_pairs(index, events, history, split, n, seed)
    pipeline = load_pipeline(model, None, device)
    plan = Plan(pairs, out, seed, steps, guidance)
    draw_pairs(pipeline, plan, batch_size)
    write_pairs(plan)
    write_strips(plan, pipeline.config.name)
    typer.echo(f"{len(pairs)} pairs in {out / 'follow_ups.csv'}; look at {out / 'strips.png'}")


def held_out_pairs(
    index: Path, events: Path | None, history: float, split: str, n: int | None, seed: int
) -> pd.DataFrame:
    """Pairs of a split, each with the events of a pair of another patient over as many hours.

    Errors: UserError where there is no pair.
    """
    from gen.data.follow import with_priors
    from gen.data.index import read_index
    from gen.schema import DataConfig
    from gen.schema.tasks import FollowConfig

    rows = read_index(index, splits=split.split(","))
    config = DataConfig(index=index, events=events, resolution=8, follow=FollowConfig(history=history))
    pairs = with_priors(rows, config)
    if pairs.empty:
        raise UserError(f"{index}: no patient of split {split!r} has two frontal images in a known order")
    if n is not None and n < len(pairs):
        pairs = pairs.sample(n, random_state=seed).sort_index()
    studies = dict(zip(rows["image"], rows.get("study_id", rows["image"]), strict=True))
    pairs = pairs.assign(prior_study=pairs["prior"].map(studies), events_wrong=_exchanged(pairs, seed))
    names = [f"{a}_from_{b}" for a, b in zip(pairs["study_id"], pairs["prior_study"], strict=True)]
    return pairs.assign(name=[name.replace("/", "_") for name in names]).reset_index(drop=True)


def draw_pairs(pipeline: CXRPipeline, plan: Plan, batch_size: int) -> None:
    """Draw what is not there yet; both kinds of a pair have the same seed."""
    import torch
    from PIL import Image
    from tqdm import tqdm

    from gen.calls.temporal import pair_batch
    from gen.data.images import from_model
    from gen.provenance import save_png

    rows = plan.pairs.to_dict("records")
    wanted = [(number, row, kind) for number, row in enumerate(rows) for kind in (RIGHT, WRONG)]
    wanted = [one for one in wanted if not plan.file(one[1], one[2]).is_file()]
    for first in tqdm(range(0, len(wanted), batch_size), desc="draw", unit="batch"):
        part = wanted[first : first + batch_size]
        cells = [row["events" if kind == RIGHT else "events_wrong"] for _, row, kind in part]
        batch = pair_batch(pipeline, [row for _, row, _ in part], cells)
        with torch.no_grad():
            drawn = pipeline.draw(
                batch, [plan.seed + number for number, _, _ in part], plan.steps, plan.guidance, "np", progress=False
            )
        for (_, row, kind), pixels, record in zip(part, drawn.images, drawn.records, strict=True):
            save_png(Image.fromarray(from_model(pixels * 2 - 1)), record, plan.file(row, kind))


def write_pairs(plan: Plan) -> None:
    """The table of pairs, with paths relative to it."""
    table = plan.pairs.rename(columns={"image": "target", "patient_id": "patient"})
    table = table.assign(findings=table["target_findings"])
    for kind in (RIGHT, WRONG):
        table[kind] = [str(plan.file(row, kind)) for row in plan.pairs.to_dict("records")]
    for column in ("prior", "target", RIGHT, WRONG):
        table[column] = [os.path.relpath(path, plan.out) for path in table[column]]
    columns = ["prior", "target", RIGHT, WRONG, "findings", "patient", *(name for name in CARRIED if name in table)]
    with replacing(plan.out / "follow_ups.csv") as temporary:
        table[columns].to_csv(temporary, index=False)


def write_strips(plan: Plan, model: str) -> None:
    """Prior, drawing, truth, and the drawing with another patient's events, of pairs that have events."""
    from PIL import Image

    from gen.data.events import read_cell
    from gen.data.images import from_model, model_pixels

    from .contact import TILE, Group, contact_sheet

    rows = [row for row in plan.pairs.to_dict("records") if row["events"] != "[]" and row["prior_findings"]]
    rows.sort(key=lambda row: ("No Finding" in row["prior_findings"], -(row["gap_hours"] or 0)))
    rows = (
        list({row["patient_id"]: row for row in reversed(rows)}.values())[::-1][:SHOWN]
        or plan.pairs.to_dict("records")[:1]
    )
    groups = []
    for row in rows:
        files = [row["prior"], plan.file(row, RIGHT), row["image"], plan.file(row, WRONG)]
        images = [Image.fromarray(from_model(model_pixels(str(file), TILE))) for file in files]
        said = ", ".join(f"{e.words()} {e.before:.0f} h before" for e in read_cell(row["events"])) or "no events"
        label = f"{row['prior_findings'] or 'no finding'}; {row['gap_hours']:g} h; {said}"
        groups.append(Group(label, "prior | drawn | truth | drawn with another patient's events", images))
    title = "Follow-ups of held-out patients; drawings are synthetic"
    with replacing(plan.out / "strips.png") as temporary:
        contact_sheet(groups, title, f"Model {model}.", columns=2).save(temporary, format="PNG", optimize=True)


def _exchanged(pairs: pd.DataFrame, seed: int) -> list[str]:
    """Events of the next patient on a ring in random order, among pairs over as many hours where there are others."""
    rng, cells = np.random.default_rng(seed), pairs["events"].copy()
    for _, alike in pairs.groupby(pairs["gap_hours"].fillna(-1), sort=True):
        group = alike if len(set(alike["patient_id"])) > 1 else pairs
        patients = list(rng.permutation(sorted(group["patient_id"].unique())))
        following = dict(zip(patients, [*patients[1:], patients[0]], strict=True))
        first = group.drop_duplicates("patient_id").set_index("patient_id")["events"]
        cells.loc[alike.index] = [first[following[patient]] for patient in alike["patient_id"]]
    return list(cells)
