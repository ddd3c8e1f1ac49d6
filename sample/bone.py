"""Bone suppression of files: one radiograph at a time, so that memory stays what one needs; resumed by rerunning."""

from __future__ import annotations

import csv
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from gen.errors import UserError
from gen.files import plain_cell, replacing

from .interrupt import Interrupt
from .settings import claim

if TYPE_CHECKING:
    from gen.calls.bone import BoneModel, SoftImage
    from gen.data.depth import Source

MANIFEST, SETTINGS, TABLE = "manifest.csv", "bone.json", "pairs.csv"
COLUMNS = ("source", "file", "status", "reason", "removed_mean", "removed_max", "seconds")
DONE, REFUSED = "done", "refused"
DERIVED = "Bones removed from a radiograph by a generative model; synthetic in part. Not for diagnosis."
SHOWN = 512  # pixels, longer side of each picture of a triptych
GAIN = 4.0  # of the removed layer in a triptych


@dataclass(frozen=True)
class Radiograph:
    """One input: where it is, the name its outputs get, and of a table its real soft-tissue image and patient."""

    path: str
    name: str
    target: str = ""
    patient: str = ""


@dataclass
class Outcome:
    """What a run has done."""

    done: int = 0
    refused: list[str] = field(default_factory=list)


def radiographs(place: Path) -> list[Radiograph]:
    """A file, the radiographs below a folder, or the rows of an index. Errors: UserError where there are none."""
    from gen.data.images import IMAGE_SUFFIXES

    if place.suffix.lower() in (".csv", ".parquet"):
        return _of_index(place)
    if place.is_file():
        return [Radiograph(str(place), place.stem)]
    if not place.is_dir():
        raise UserError(f"{place}: no such file or folder")
    files = sorted(path for path in place.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES)
    if not files:
        raise UserError(f"{place}: holds no radiograph ({', '.join(IMAGE_SUFFIXES)})")
    names = ["_".join(path.relative_to(place).with_suffix("").parts) for path in files]
    return [Radiograph(str(path), name) for path, name in zip(files, _distinct(names), strict=True)]


def _of_index(place: Path) -> list[Radiograph]:
    from gen.data.index import read_index

    rows = read_index(place)
    names = _distinct([Path(path).stem for path in rows["image"]])
    targets = rows["soft"] if "soft" in rows else [""] * len(rows)
    parts = zip(rows["image"], names, targets, rows["patient_id"], strict=True)
    return [Radiograph(str(a), name, str(b), str(patient)) for a, name, b, patient in parts]


def _distinct(names: Sequence[str]) -> list[str]:
    seen: dict[str, int] = {}
    for name in names:
        seen[name] = seen.get(name, 0) + 1
    many, counts = {name for name, count in seen.items() if count > 1}, dict.fromkeys(seen, 0)
    distinct = []
    for name in names:
        counts[name] += 1
        distinct.append(f"{name}_{counts[name]}" if name in many else name)
    return distinct


def suppress_all(
    model: BoneModel,
    items: Sequence[Radiograph],
    out: Path,
    settings: dict,
    anyway: bool = False,
    pictures: bool = True,
) -> Outcome:
    """Write the soft-tissue image, the map of what was removed and a triptych of every radiograph not yet in `out`.

    Errors: UserError for a folder of another run, and for a single radiograph that is refused.
    """
    from tqdm import tqdm

    out.mkdir(parents=True, exist_ok=True)
    claim(out / SETTINGS, settings)
    rows = {row["source"]: row for row in _read_manifest(out) if (out / row["file"]).is_file()}
    outcome = Outcome(done=sum(item.path in rows for item in items))
    with Interrupt() as interrupt, tqdm(total=len(items), initial=outcome.done, unit="image", disable=None) as bar:
        for item in items:
            if item.path in rows:
                continue
            row = _one(model, item, out, anyway, pictures, settings, alone=len(items) == 1)
            rows[item.path] = row
            _append(out, row)
            bar.update(1)
            if row["status"] == REFUSED:
                outcome.refused.append(f"{item.path}: {row['reason']}")
            outcome.done += 1
            if interrupt.signal:
                break
    if outcome.done < len(items):
        interrupt.end(f"{outcome.done} of {len(items)} images are done")
    _write_pairs(out, items, rows, network_calls(settings))
    return outcome


def _one(
    model: BoneModel, item: Radiograph, out: Path, anyway: bool, pictures: bool, settings: dict, alone: bool
) -> dict[str, str]:
    from gen.data.depth import read_source

    began = time.perf_counter()
    try:
        source = read_source(item.path)
        result = model.suppress(source.brightness, anyway, settings["scale"], settings["looks"])
    except UserError as error:
        reason = str(error).removeprefix(f"{item.path}: ")
        if alone:
            raise UserError(f"{item.path}: {reason}") from None
        return dict.fromkeys(COLUMNS, "") | {"source": item.path, "status": REFUSED, "reason": plain_cell(reason)}
    file = _write(item, source, result, out)
    if pictures:
        _save(out / "triptychs" / f"{item.name}.png", triptych(source.brightness, result))
    return {
        "source": item.path,
        "file": file,
        "status": DONE,
        "reason": "; ".join(result.warnings),
        "removed_mean": f"{result.removed.mean():.6f}",
        "removed_max": f"{result.removed.max():.6f}",
        "seconds": f"{time.perf_counter() - began:.3f}",
    }


def _write(item: Radiograph, source: Source, result: SoftImage, out: Path) -> str:
    """The soft-tissue image in the source's format and depth, and the removed map (16 bits, 0.5 is nothing)."""
    from gen.data.depth import as_levels, as_picture
    from gen.data.dicom_writing import Derivation, dicom_bytes
    from gen.provenance import png_bytes

    _save(out / "removed" / f"{item.name}.png", as_picture(result.removed / 2 + 0.5, 16))
    if source.uids is None:
        file, data = f"{item.name}.png", png_bytes(as_picture(result.soft, source.bits), result.record)
    else:
        derivation = Derivation(source.uids, DERIVED, source.bits)
        pixels = as_levels(result.soft, source.bits)
        file, data = f"{item.name}.dcm", dicom_bytes(pixels, vars(result.record), derivation=derivation)
    with replacing(out / file) as temporary:
        temporary.write_bytes(data)
    return file


def triptych(brightness: np.ndarray, result: SoftImage) -> Image.Image:
    """Before, after and what was removed (grey is nothing, brighter was taken away), side by side."""
    from gen.data.images import from_model, shrink

    removed = np.clip(GAIN * result.removed / 2 + 0.5, 0, 1)
    parts = [shrink(part, min(SHOWN, max(brightness.shape))) for part in (brightness, result.soft, removed)]
    return Image.fromarray(from_model(np.concatenate(parts, axis=1) * 2 - 1))


def _save(path: Path, picture: Image.Image) -> None:
    with replacing(path) as temporary:
        picture.save(temporary, format="PNG")


def _read_manifest(out: Path) -> Iterator[dict[str, str]]:
    if (out / MANIFEST).is_file():
        with (out / MANIFEST).open(newline="") as file:
            yield from (row for row in csv.DictReader(file) if row["status"] == DONE and row["file"])


def _append(out: Path, row: dict[str, str]) -> None:
    new = not (out / MANIFEST).is_file()
    with (out / MANIFEST).open("a", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        if new:
            writer.writeheader()
        writer.writerow(row)


def network_calls(settings: dict) -> int | None:
    """Calls of the drawing network that an image takes; None for tiles, whose number depends on its shape."""
    if settings["scale"] > 1:
        return None
    return settings["steps"] * settings["draws"] * settings["looks"] * (2 if settings["dual"] else 1)


def _write_pairs(
    out: Path, items: Sequence[Radiograph], rows: dict[str, dict[str, str]], calls: int | None = None
) -> None:
    """The table that `cxr-eval bone` reads, where the real soft-tissue images are known."""
    known = [(item, rows[item.path]) for item in items if item.target and rows[item.path]["status"] == DONE]
    lines = [
        {
            **{"cxr": item.path, "target": item.target, "output": str((out / row["file"]).absolute())},
            **{"patient": item.patient, "seconds": row["seconds"], "calls": calls},
        }
        for item, row in known
    ]
    if lines:
        with replacing(out / TABLE) as temporary, temporary.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(lines[0]))
            writer.writeheader()
            writer.writerows(lines)
