"""cxr-sample studies: whole studies of new patients from words alone, every view drawn with those before it."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gen.errors import UserError
from gen.files import replacing

from .models import Compiled, InDtype, LowMemory, OfAttention, OnDevice, Revision, load_pipeline, settings_of
from .settings import claim

if TYPE_CHECKING:
    import pandas as pd

    from gen import CXRPipeline

ALONE = "alone"
SHOWN = 8


@dataclass(frozen=True)
class Patients:
    """N new patients by the words of held-out ones: names [N], prompts [N], and the views of each one's study."""

    rows: pd.DataFrame
    views: tuple[str, ...]
    out: Path

    def file(self, row: dict, view: str, alone: bool = False) -> Path:
        """Where a drawing is."""
        return self.out / "images" / f"{row['name']}_{view.replace(' ', '_')}{f'_{ALONE}' if alone else ''}.png"

    def missing(self, row: dict) -> bool:
        """Whether one of a patient's drawings is not there yet."""
        alone = [self.file(row, view, True) for view in self.views[1:]]
        return not all(path.is_file() for path in (*(self.file(row, view) for view in self.views), *alone))


def studies(
    index: Annotated[Path, typer.Option(help="index whose patients' sex, age and findings are the words")],
    out: Annotated[Path, typer.Option(help="folder to write into; the same command again goes on")],
    model: Annotated[str, typer.Option(help="folder of a view model, or hub id")],
    split: Annotated[str, typer.Option(help="split of the index, or several with commas")] = "test",
    views: Annotated[str, typer.Option(help="views of every study, as they are drawn, with commas")] = "PA,LATERAL",
    n: Annotated[int, typer.Option(min=2, help="studies to draw at most, of patients at random")] = 64,
    seed: Annotated[int, typer.Option(help="of the choice of patients, and of the first study")] = 0,
    steps: Annotated[int | None, typer.Option(min=1, help="sampling steps; the model's own number if left out")] = None,
    guidance: Annotated[float | None, typer.Option(help="the model's own if left out")] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="studies drawn at once")] = 8,
    revision: Revision = None,
    device: OnDevice = "auto",
    dtype: InDtype = "auto",
    attention: OfAttention = "sdpa",
    compiled: Compiled = "off",
    low_memory: LowMemory = False,
) -> None:
    """Draw whole studies of new patients from words, and, same words and seeds, their later views alone.

    Writes studies.csv, which `cxr-eval studies` reads, and strips.png.
    """
    pipeline = load_pipeline(model, revision, device, dtype, attention, compiled, low_memory)
    patients = patients_of(index, split, _asked(views), n, seed, out)
    words = {"views": views, "prompts": " ".join(patients.rows["prompt"])}
    claim(out / "studies.json", {**settings_of(pipeline, steps, guidance), "seed": seed, **words})
    draw_studies(pipeline, patients, seed, {"steps": steps, "guidance": guidance}, batch_size)
    write_studies(patients)
    write_strips(patients, pipeline.config.name)
    typer.echo(f"{len(patients.rows)} studies of {', '.join(patients.views)} in {out / 'studies.csv'}")
    typer.echo(f"look at {out / 'strips.png'}; judge with: cxr-eval studies --table {out / 'studies.csv'} --real INDEX")


def patients_of(index: Path, split: str, views: tuple[str, ...], n: int, seed: int, out: Path) -> Patients:
    """A row of each of some patients of a split, with the words for it. Errors: UserError where there are none."""
    from gen.data.index import read_index
    from gen.data.prompts import prompt_from_row

    rows = read_index(index, splits=split.split(",")).drop_duplicates("patient_id")
    if len(rows) < 2:
        raise UserError(f"{index}: split {split!r} has {len(rows)} patients; see --split")
    rows = rows.sample(min(n, len(rows)), random_state=seed).reset_index(drop=True)
    said = [{name: row[name] for name in ("sex", "age", "findings") if name in row} for row in rows.to_dict("records")]
    names = [f"{number:05d}" for number in range(len(rows))]
    return Patients(rows.assign(name=names, prompt=[prompt_from_row(row) for row in said]), views, out)


def draw_studies(pipeline: CXRPipeline, patients: Patients, seed: int, settings: dict, batch_size: int) -> None:
    """Draw the studies that are not all there yet."""
    from tqdm import tqdm

    rows = patients.rows.to_dict("records")
    wanted = [(number, row) for number, row in enumerate(rows) if patients.missing(row)]
    for first in tqdm(range(0, len(wanted), batch_size), desc="draw", unit="batch"):
        part = wanted[first : first + batch_size]
        rows, seeds = [row for _, row in part], [seed + number for number, _ in part]
        drawn = _drawn(pipeline, rows, seeds, patients.views, settings)
        _save([patients.file(row, view) for row in rows for view in patients.views], drawn)
        for view in patients.views[1:]:
            _save([patients.file(row, view, True) for row in rows], _drawn(pipeline, rows, seeds, [view], settings))


def write_studies(patients: Patients) -> None:
    """A row for every later view of a study, with paths relative to the table."""
    with replacing(patients.out / "studies.csv") as temporary, temporary.open("w", newline="") as file:
        fields = ("first", "second", "second_alone", "first_view", "second_view", "patient", "prompt")
        writer = csv.DictWriter(file, fields, lineterminator="\n")
        writer.writeheader()
        head = patients.views[0]
        for row in patients.rows.to_dict("records"):
            for view in patients.views[1:]:
                files = (patients.file(row, head), patients.file(row, view), patients.file(row, view, True))
                images = dict(zip(fields[:3], (str(path.relative_to(patients.out)) for path in files), strict=True))
                said = {"first_view": head, "second_view": view, "patient": row["name"], "prompt": row["prompt"]}
                writer.writerow(images | said)


def write_strips(patients: Patients, model: str) -> None:
    """Some studies, a strip each, their later views alone behind them."""
    from PIL import Image

    from gen.data.images import from_model, model_pixels

    from .contact import TILE, Group, contact_sheet

    groups = []
    for row in patients.rows.head(SHOWN).to_dict("records"):
        files = [patients.file(row, view) for view in patients.views]
        files += [patients.file(row, view, True) for view in patients.views[1:]]
        images = [Image.fromarray(from_model(model_pixels(str(file), TILE))) for file in files]
        later = ", ".join(patients.views[1:])
        groups.append(Group(row["prompt"], f"{' | '.join(patients.views)} of one study | {later} alone", images))
    sheet = contact_sheet(groups, "Studies from words; drawings are synthetic", f"Model {model}.", columns=2)
    with replacing(patients.out / "strips.png") as temporary:
        sheet.save(temporary, format="PNG", optimize=True)


def _asked(views: str) -> tuple[str, ...]:
    from gen.data.prompts import VIEWS

    asked = tuple(view.strip().upper() for view in views.split(","))
    if unknown := [view for view in asked if view not in VIEWS]:
        raise UserError(f"--views {unknown[0]}: one of {', '.join(VIEWS)}")
    if len(set(asked)) < 2 or len(set(asked)) < len(asked):
        raise UserError(f"--views {views}: two views or more, each once")
    return asked


def _drawn(pipeline: CXRPipeline, rows: Sequence[dict], seeds: Sequence[int], views: Sequence[str], settings: dict):
    prompts = [row["prompt"] for row in rows]
    return pipeline(prompts, views=list(views), seed=list(seeds), progress=False, **settings)


def _save(files: Sequence[Path], drawn) -> None:
    from gen.provenance import save_png

    files[0].parent.mkdir(parents=True, exist_ok=True)
    for path, image, record in zip(files, drawn.images, drawn.records, strict=True):
        save_png(image, record, path)
