"""Files of what was drawn, each with its record inside, and the progress of drawing."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from itertools import count
from math import nan
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from gen.provenance import SynthesisRecord, save_png

if TYPE_CHECKING:
    from gen.pipeline import CXRPipeline

MOST_STEPS = 50


@dataclass(frozen=True)
class Drawn:
    """Images with their records, as a pipeline's output has them."""

    images: Sequence[Image.Image]
    records: Sequence[SynthesisRecord]


@dataclass(frozen=True)
class Files:
    """A drawing's files: the PNGs to show, and what the two download buttons give (None without pydicom)."""

    shown: list[Path]
    png: Path
    dicom: Path | None


def write_files(drawn: Drawn, folder: Path) -> Files:
    """Write every image as PNG and DICOM; several are handed out as one archive of each kind."""
    pairs = list(zip(drawn.images, drawn.records, strict=True))
    pngs = [folder / f"synthetic_{number}_seed{record.seed}.png" for number, (_, record) in enumerate(pairs, start=1)]
    for path, (image, record) in zip(pngs, pairs, strict=True):
        save_png(image, record, path)
    if find_spec("pydicom") is None:
        return Files(pngs, _together(pngs, folder / "synthetic_png.zip"), None)
    dicoms = [path.with_suffix(".dcm") for path in pngs]
    for path, (image, record) in zip(dicoms, pairs, strict=True):
        _save_dicom(image, record, path)
    return Files(pngs, _together(pngs, folder / "synthetic_png.zip"), _together(dicoms, folder / "synthetic_dicom.zip"))


def most_steps(pipeline: CXRPipeline) -> int:
    """The right end of a page's slider: what a student was taught at most, and for others a patient person's limit."""
    return pipeline.scheduler.config.get("grid") or MOST_STEPS


def told_steps(progress: Callable, steps: int) -> Callable:
    """A pipeline's `callback_on_step_end` that moves a page's progress bar."""

    def told(_: object, number: int, __: object, values: dict) -> dict:
        progress((number + 1, steps), desc="Drawing", unit="steps")
        return values

    return told


@contextmanager
def told_calls(pipeline: CXRPipeline, progress: Callable, calls: int) -> Iterator[None]:
    """Moves a page's progress bar at every call of the denoiser, where a pipeline's own call tells of no steps."""
    numbers = count(1)

    def told(*_: object) -> None:
        progress((next(numbers), calls), desc="Drawing", unit="steps")

    hook = pipeline.unet.register_forward_hook(told)
    try:
        yield
    finally:
        hook.remove()


def _save_dicom(image: Image.Image, record: SynthesisRecord, path: Path) -> None:
    from gen.data.dicom_writing import write_synthetic_dicom

    age = nan if record.age is None else record.age
    write_synthetic_dicom(path, np.asarray(image), asdict(record), record.view, record.sex, age)


def _together(paths: Sequence[Path], archive: Path) -> Path:
    if len(paths) == 1:
        return paths[0]
    with zipfile.ZipFile(archive, "w") as file:
        for path in paths:
            file.write(path, path.name)
    return archive
