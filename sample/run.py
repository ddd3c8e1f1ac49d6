"""The sampling job: items in; image files, their records and a manifest out; resumed by running it again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from gen.errors import UserError, disk_is_full

from .interrupt import Interrupt
from .manifest import COLUMNS, Row, check_same_run, file_hash, intact, read_manifest, write_manifest
from .request import Item

if TYPE_CHECKING:
    from PIL.Image import Image

    from gen import CXRPipeline
    from gen.provenance import SynthesisRecord

Device = Literal["auto", "cpu", "cuda"]
Dtype = Literal["auto", "float32", "float16", "bfloat16"]
DICOM_SUFFIX = ".dcm"


def load_pipeline(
    model: str | None = None, revision: str | None = None, device: Device = "auto", dtype: Dtype = "auto"
) -> CXRPipeline:
    """The shipped model or any other, on a device; `auto` takes a GPU where there is one, and half precision on it."""
    import torch
    from diffusers.utils import logging as diffusers_logging
    from transformers.utils import logging as transformers_logging

    from gen.pipeline import DEFAULT_MODEL, CXRPipeline

    if device == "cuda" and not torch.cuda.is_available():
        raise UserError("--device cuda: no usable GPU here; use --device cpu")
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if dtype == "auto":
        dtype = "float16" if device == "cuda" else "float32"
    diffusers_logging.disable_progress_bar()
    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()  # its report on the pooler, which no denoiser uses, fills a page
    pipeline = CXRPipeline.from_pretrained(model or DEFAULT_MODEL, revision, torch_dtype=getattr(torch, dtype))
    return pipeline.to(device)


def draw(
    pipeline: CXRPipeline,
    items: Sequence[Item],
    out: Path,
    steps: int | None = None,
    guidance: float | None = None,
    batch_size: int = 8,
    replace_others: bool = False,
) -> list[Row]:
    """Draw what is not yet in `out`; the manifest is written after every batch.

    `replace_others` draws over images of other settings. Returns the manifest's rows in the order of the items.
    Errors: UserError for a folder that holds another run; SystemExit 130 or 143 after a signal.
    """
    from tqdm import tqdm

    settings = _settings(pipeline, steps, guidance)
    rows = _kept(items, settings, out, replace_others)
    _make_folder(out)
    write_manifest(out, [rows[item.name] for item in items if item.name in rows])
    todo = [item for item in items if item.name not in rows]
    with Interrupt() as interrupt, tqdm(total=len(items), initial=len(rows), unit="image", disable=not todo) as bar:
        for start in range(0, len(todo), batch_size):
            batch = todo[start : start + batch_size]
            rows |= _draw_batch(pipeline, batch, out, settings)
            write_manifest(out, [rows[item.name] for item in items if item.name in rows])
            bar.update(len(batch))
            if interrupt.signal:
                break
    if len(rows) < len(items):
        interrupt.end(f"{len(rows)} of {len(items)} images are done")
    return [rows[item.name] for item in items]


def _make_folder(out: Path) -> None:
    """Make the output folder, or say why it cannot be."""
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        if disk_is_full(error):
            raise
        raise UserError(f"--out {out}: cannot be a folder ({error.strerror}); give another") from None


def _settings(pipeline: CXRPipeline, steps: int | None, guidance: float | None) -> Row:
    return {
        "model": pipeline.config.name,
        "model_hash": pipeline.model_hash,
        "steps": str(pipeline.config.steps if steps is None else steps),
        "guidance": str(float(pipeline.config.guidance if guidance is None else guidance)),
        "scheduler": type(pipeline.scheduler).__name__,
        "dtype": str(pipeline.dtype).removeprefix("torch."),
    }


def _kept(items: Sequence[Item], settings: Row, out: Path, replace_others: bool) -> dict[str, Row]:
    """Rows of images that are there already, with the table's present labels and extra columns."""
    expected = {item.name: {"prompt": item.prompt, "seed": str(item.seed), **settings} for item in items}
    rows = read_manifest(out)
    if replace_others:
        rows = {name: row for name, row in rows.items() if name in expected and expected[name].items() <= row.items()}
    check_same_run(out, rows, expected)
    there = [item for item in items if item.name in rows and intact(out, rows[item.name])]
    return {item.name: {name: rows[item.name][name] for name in COLUMNS} | _from_table(item) for item in there}


def _draw_batch(pipeline: CXRPipeline, batch: Sequence[Item], out: Path, settings: Row) -> dict[str, Row]:
    drawn = pipeline(
        [item.prompt for item in batch],
        seed=[item.seed for item in batch],
        steps=int(settings["steps"]),
        guidance=float(settings["guidance"]),
        progress=False,
    )
    for item, image, record in zip(batch, drawn.images, drawn.records, strict=True):
        _save(out / item.name, image, record)
    return {item.name: _row(item, record, settings, out) for item, record in zip(batch, drawn.records, strict=True)}


def _save(path: Path, image: Image, record: SynthesisRecord) -> None:
    import numpy as np

    from gen.data.dicom_writing import write_synthetic_dicom
    from gen.provenance import save_png

    if path.suffix == DICOM_SUFFIX:
        age = float("nan") if record.age is None else record.age
        write_synthetic_dicom(path, np.asarray(image), asdict(record), record.view, record.sex, age)
    else:
        save_png(image, record, path)


def _row(item: Item, record: SynthesisRecord, settings: Row, out: Path) -> Row:
    return {
        "img_savename": item.name,
        "prompt": item.prompt,
        "view": record.view,
        "sex": record.sex,
        "age": "" if record.age is None else f"{record.age:g}",
        "findings": record.findings,
        "seed": str(item.seed),
        **settings,
        "sha256": file_hash(out / item.name),
        "synthetic": "true",
        **_from_table(item),
    }


def _from_table(item: Item) -> Row:
    labels = {} if item.findings is None else {"findings": item.findings}
    return {**labels, **item.extra}
