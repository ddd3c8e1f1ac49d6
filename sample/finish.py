"""The last touch to a set that is complete: the tables and the card that other programs read it by."""

from __future__ import annotations

import csv
import io

import pyarrow as pa
import pyarrow.compute as pc

from gen.files import plain_cell

from .models import Settings
from .parts import compact, read_manifest
from .rejections import write_rejections
from .row import ACCEPTED, GIVEN_UP
from .store import Store
from .writers import LOOSE, PACKED

PROMPTS, CARD = "prompts.csv", "README.md"
CARD_TEXT = """---
{configs}tags:
- synthetic
- chest-x-ray
---

# Synthetic chest radiographs

**None of these images shows a patient; none is for diagnosis.** {count} radiographs were drawn by {model} (weights
{model_hash}, settings {config_hash}): {steps} {scheduler} steps, guidance {guidance}, {dtype}, format {format}.
Gates: {gates}. {given_up} conditions of the plan were given up after {max_tries} tries.

`manifest/` says for each image its prompt, labels, seed, checksum and verdicts; `plan.parquet` is what was asked for.
Labels are what the model was asked to draw, not what a reader saw. Whether copies may be passed on depends on the
licences of the data that the model was trained on. Generated images can resemble training patients.

{example}
"""
EXAMPLES = {
    "parquet": 'datasets.load_dataset("parquet", data_files="data/*.parquet", split="train")',
    "webdataset": 'datasets.load_dataset("webdataset", data_files="data/*.tar", split="train")',
}
LOOSE_EXAMPLE = 'rows = pandas.read_csv("prompts.csv")  # prompt, img_savename: a path below this folder'


def finish(store: Store, settings: Settings) -> None:
    """Write the card and, for formats of one file an image, prompts.csv; put the manifest's parts together."""
    compact(store)
    loose = settings["format"] in LOOSE
    table = read_manifest(store, ["prompt", "file"] if loose else [])  # a million prompts are 0.2 GB
    accepted = pc.equal(table["status"], ACCEPTED)
    if loose:
        store.write(PROMPTS, _prompts(table.filter(accepted)))
    if settings["gates"]:
        write_rejections(store)
    store.write(CARD, _card(settings, pc.sum(accepted).as_py() or 0, table).encode())


def _prompts(accepted: pa.Table) -> bytes:
    """A table as CheXGenBench reads it."""
    file = io.StringIO(newline="")
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["prompt", "img_savename"])
    for batch in accepted.select(["prompt", "file"]).to_batches(max_chunksize=10_000):
        prompts = [plain_cell(prompt) for prompt in batch["prompt"].to_pylist()]
        writer.writerows(zip(prompts, batch["file"].to_pylist(), strict=True))
    return file.getvalue().encode()


def _card(settings: Settings, count: int, table: pa.Table) -> str:
    packed = settings["format"] not in LOOSE
    suffix = "parquet" if settings["format"] == "parquet" else "tar"
    configs = f"configs:\n- config_name: default\n  data_files: {PACKED}/*.{suffix}\n" if packed else ""
    example = f"```python\n{EXAMPLES.get(settings['format'], LOOSE_EXAMPLE)}\n```"
    given_up = pc.sum(pc.equal(table["status"], GIVEN_UP)).as_py() or 0
    said = settings | {"gates": settings["gates"] or "none"}
    said["scheduler"] = said["scheduler"].removesuffix("Scheduler")
    return CARD_TEXT.format(configs=configs, count=count, given_up=given_up, example=example, **said)
