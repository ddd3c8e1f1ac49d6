"""The first thing to see: a labelled set of radiographs, their contact sheet and a page."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from gen.files import replacing

from .manifest import Row
from .request import Item, Request, expand
from .run import draw

if TYPE_CHECKING:
    from gen import CXRPipeline

EACH = 2  # radiographs a prompt
PROMPTS = (
    "PA chest radiograph of a 31-year-old woman with no acute cardiopulmonary abnormality.",
    "PA chest radiograph of a 52-year-old man with clear lungs.",
    "AP chest radiograph of a 4-year-old child with no acute findings.",
    "AP chest radiograph of a 3-year-old child with bacterial pneumonia.",
    "PA chest radiograph of a 68-year-old man with cardiomegaly.",
    "AP chest radiograph of a 74-year-old woman with cardiomegaly and pulmonary edema.",
    "PA chest radiograph of a 59-year-old woman with a pleural effusion.",
    "AP chest radiograph of a 63-year-old man with consolidation and a pleural effusion.",
    "PA chest radiograph of a 24-year-old man with a pneumothorax.",
    "PA chest radiograph of a 61-year-old man with a lung mass.",
    "PA chest radiograph of a 55-year-old woman with a lung nodule.",
    "AP chest radiograph of a 57-year-old man with COVID-19 pneumonia.",
)
TITLE = "Synthetic chest radiographs: no patients, not for diagnosis"
IMAGES, SHEET, PAGE = "radiographs", "sheet.png", "index.html"


def demo_items(first_seed: int = 0) -> list[Item]:
    """The demo's images: every prompt twice, a seed of its own for each."""
    return expand([Request(prompt, n=EACH) for prompt in PROMPTS], first_seed)


def draw_demo(pipeline: CXRPipeline, out: Path, steps: int | None = None, seed: int = 0) -> tuple[Path, Path]:
    """Draw the set into a folder with its sheet and its page, and return the paths of those two."""
    rows = draw(pipeline, demo_items(seed), out / IMAGES, steps, replace_others=True)
    _write_sheet(rows, out)
    _write_page(rows, out)
    return out / SHEET, out / PAGE


def _write_sheet(rows: Sequence[Row], out: Path) -> None:
    from PIL import Image

    from .contact import Group, contact_sheet

    groups = []
    for prompt, same in _by_prompt(rows):
        seeds = "seeds " + ", ".join(row["seed"] for row in same)
        groups.append(Group(prompt, seeds, [Image.open(out / IMAGES / row["img_savename"]) for row in same]))
    sheet = contact_sheet(groups, TITLE, _made_by(rows[0]))
    with replacing(out / SHEET) as temporary:
        sheet.save(temporary, format="PNG", optimize=True)


def _write_page(rows: Sequence[Row], out: Path) -> None:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    from gen.provenance import NOTICE

    pages = Environment(loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined)
    groups = [
        (prompt, [(row, _data_url(out / IMAGES / row["img_savename"])) for row in s]) for prompt, s in _by_prompt(rows)
    ]
    page = pages.get_template("page.html").render(
        title=TITLE, notice=NOTICE, made_by=_made_by(rows[0]), groups=groups, sheet=SHEET, folder=IMAGES
    )
    with replacing(out / PAGE) as temporary:
        temporary.write_text(page, encoding="utf-8")


def _by_prompt(rows: Sequence[Row]) -> list[tuple[str, list[Row]]]:
    return [(prompt, list(same)) for prompt, same in groupby(rows, key=lambda row: row["prompt"])]


def _made_by(row: Row) -> str:
    drawn = f"{row['steps']} {row['scheduler'].removesuffix('Scheduler')} steps, guidance {row['guidance']}"
    return f"Model {row['model']}, hash {row['model_hash']}; {drawn}."


def _data_url(path: Path) -> str:
    return "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode()
