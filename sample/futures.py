"""cxr-sample temporal: futures of one radiograph, how sure they are, and what other events would have done."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gen.errors import UserError

from .follow_pairs import unread_codes
from .given import owners_of
from .models import Compiled, InDtype, LowMemory, OfAttention, OnDevice, Revision, load_pipeline, settings_of

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

    from gen import CXRPipeline
    from gen.calls.temporal import Prediction

WHITE = 0.25  # share of the brightness range that is white on the maps
SAID = ("prompt", "view", "sex", "age", "findings", "seed", "given")
HOURS = re.compile(r"(\d+(?:\.\d+)?)\s*(h|d)?")


def temporal(
    prior: Annotated[Path, typer.Option(help="the previous radiograph")],
    at: Annotated[str, typer.Option(help="time from it to the image to be drawn, such as 72h or 3d")],
    out: Annotated[Path, typer.Option(help="folder to write into")],
    model: Annotated[str, typer.Option(help="folder of a temporal model, or hub id")],
    events: Annotated[
        Path | None, typer.Option(help="CSV: hour (from the prior), code, value, unit, if wanted patient_id")
    ] = None,
    patient: Annotated[str | None, typer.Option(help="whose events of the table count")] = None,
    index: Annotated[Path | None, typer.Option(help="index in which the prior must be --patient's")] = None,
    without: Annotated[
        str | None, typer.Option(help="also draw with the same seeds without this code's events")
    ] = None,
    prompt: Annotated[str, typer.Option(help="what is known besides: view, sex, age, how the patient fared")] = "",
    n: Annotated[int, typer.Option(help="futures to draw")] = 4,
    seed: Annotated[int, typer.Option(help="of the first one")] = 0,
    steps: Annotated[int | None, typer.Option(help="sampling steps; the model's own number if left out")] = None,
    guidance: Annotated[float, typer.Option(help="over 1 strengthens the events")] = 1.0,
    revision: Revision = None,
    device: OnDevice = "auto",
    dtype: InDtype = "auto",
    attention: OfAttention = "sdpa",
    compiled: Compiled = "off",
    low_memory: LowMemory = False,
) -> None:
    """Draw futures of a radiograph from the hours and events between; manifest, uncertainty map and a strip."""
    hours = hours_of(at)
    if n < 1 or guidance < 0:
        raise UserError(f"--n {n} --guidance {guidance:g}: at least one image, and a guidance from 0")
    if index is not None:
        check_patient(index, prior, patient)
    given = read_given(events, patient)
    pipeline = load_pipeline(model, revision, device, dtype, attention, compiled, low_memory)
    for line in unread_codes([event["code"] for event in given], pipeline):
        typer.echo(line, err=True)
    settings = {"n": n, "prompt": prompt, "seed": seed, "steps": steps, "guidance": guidance}
    one = pipeline.predict(prior, given, hours, **settings)
    _write(pipeline, one, out, steps, guidance)
    images = [("prior", _opened(prior)), *((f"{at} {k + 1}", image) for k, image in enumerate(one.images))]
    images.append((f"deviation, white {WHITE:g}", grey_map(one.deviation)))
    if without is not None:
        rest = [event for event in given if event["code"] != without]
        if len(rest) == len(given):
            raise UserError(f"--without {without}: no such event in {events}; leave it out or correct it")
        other = pipeline.counterfactual(prior, given, rest, hours, **settings)
        _write(pipeline, other.other, out / f"without_{re.sub(r'[^A-Za-z0-9_-]', '_', without)}", steps, guidance)
        grey_map(other.difference, signed=True).save(out / "difference.png")
        images += [(f"without {without}", other.other.images[0]), ("difference", grey_map(other.difference, True))]
    _strip(images, pipeline.config.name, len(given), hours).save(out / "strip.png", optimize=True)
    typer.echo(f"{n} synthetic radiographs, manifest.csv, deviation.png and strip.png are in {out}")


def hours_of(at: str) -> float:
    """Hours of "72h", "3d" or "72". Errors: UserError for anything else, a negative time too."""
    found = HOURS.fullmatch(at.strip().lower())
    if not found or float(found[1]) <= 0:
        raise UserError(f"--at {at}: a time after the prior, such as 72h or 3d")
    return float(found[1]) * (24 if found[2] == "d" else 1)


def read_given(path: Path | None, patient: str | None = None) -> list[dict]:
    """Events of a table as the pipeline takes them. Errors: UserError for several patients in it, or none of this."""
    from gen.data.events import read_events
    from gen.data.tables import read_csv_text

    if path is None:
        return []
    plain = path.suffix == ".csv" and path.is_file() and "patient_id" not in read_csv_text(path, "give a CSV table")
    table = read_events(path, "" if plain else None)
    patients = sorted(set(table["patient_id"]))
    if patient is not None and not plain:
        table = table[table["patient_id"] == patient]
        if table.empty:
            raise UserError(f"{path}: no event of patient {patient!r}; leave --events out if there is none")
    elif len(patients) > 1:
        raise UserError(f"{path}: events of {len(patients)} patients; say whose with --patient")
    return table[["hour", "code", "value", "unit"]].to_dict("records")


def check_patient(index: Path, prior: Path, patient: str | None) -> None:
    """Errors: UserError for a prior that is not in the index, or that is another patient's."""
    owner = owners_of(index, [prior])[str(prior)]
    if patient is not None and owner != patient:
        raise UserError(f"--prior {prior}: is of patient {owner}, not {patient}; give one of theirs")


def grey_map(values: np.ndarray, signed: bool = False) -> Image.Image:
    """A map as grey levels: black 0 and white WHITE, or, signed, mid-grey 0 and white WHITE. Shapes: [H, W]."""
    import numpy as np
    from PIL import Image

    scaled = values / WHITE
    return Image.fromarray(np.round(255 * np.clip((scaled + 1) / 2 if signed else scaled, 0, 1)).astype(np.uint8))


def _write(pipeline: CXRPipeline, made: Prediction, out: Path, steps: int | None, guidance: float) -> None:
    from gen.provenance import save_png

    from .manifest import file_hash, write_manifest

    rows = []
    for image, record in zip(made.images, made.records, strict=True):
        name = f"future_{record.seed:06d}.png"
        save_png(image, record, out / name)
        said = {
            field: getattr(record, field) for field in ("prompt", "view", "sex", "age", "findings", "seed", "given")
        }
        said["age"] = "" if record.age is None else f"{record.age:g}"
        marks = {"img_savename": name, "sha256": file_hash(out / name), "synthetic": "true"}
        rows.append({**{k: str(v) for k, v in said.items()}, **settings_of(pipeline, steps, guidance), **marks})
    write_manifest(out, rows)
    save_png(grey_map(made.mean * WHITE), made.records[0], out / "mean.png")
    save_png(grey_map(made.deviation), made.records[0], out / "deviation.png")


def _strip(images: list[tuple[str, Image.Image]], model: str, events: int, hours: float) -> Image.Image:
    from .contact import Group, contact_sheet

    groups = [Group("", name, [image]) for name, image in images]
    title = f"{hours:g} h and {events} events after the prior; all but the prior are synthetic"
    return contact_sheet(groups, title, f"Model {model}.", columns=6)


def _opened(path: Path) -> Image.Image:
    from PIL import Image

    from gen.data.images import from_model, model_pixels

    return Image.fromarray(from_model(model_pixels(path, 256)))
