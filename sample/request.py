"""What is asked for: prompts with their attributes, from options or from a table, as one item an image."""

from __future__ import annotations

import csv
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from gen.errors import UserError

from .given import NOTHING, Given, check_patients, given_in
from .given import READ as GIVEN
from .manifest import COLUMNS

READ = ("prompt", "view", "sex", "age", "findings", "n", "seed")
WRITTEN = set(COLUMNS) - set(READ)


@dataclass(frozen=True)
class Request:
    """One prompt and how often it is drawn."""

    prompt: str = ""
    view: str | None = None
    sex: str | None = None
    age: float | None = None  # years
    findings: str | None = None  # labels for the manifest; None reads them from the prompt
    n: int = 1
    seed: int | None = None  # of its first image; None numbers the images of the whole run
    given: Given = NOTHING
    extra: dict[str, str] = field(default_factory=dict)
    place: str = ""


@dataclass(frozen=True)
class Item:
    """One image to draw, and the condition that it is to show."""

    id: str  # also its file's name, without the suffix
    prompt: str
    seed: int
    view: str = ""  # empty, like sex, age None and findings None: whatever the prompt says
    sex: str = ""
    age: float | None = None  # years
    findings: str | None = None
    source: str = ""  # where a plan took it from
    given: Given = NOTHING
    extra: dict[str, str] = field(default_factory=dict)


def read_table(path: Path, defaults: Request) -> list[Request]:
    """Requests of a CSV table; `defaults` fill cells that are empty or columns that are missing.

    Errors: UserError naming the file, the row (1 is the first below the header) and the column.
    """
    rows = _rows(path)
    requests = [_request(row, f"{path}: row {number}", defaults) for number, row in enumerate(rows, start=1)]
    check_patients([(request.place, row, request.given) for row, request in zip(rows, requests, strict=True)])
    return requests


def expand(requests: Sequence[Request], first_seed: int) -> list[Item]:
    """One item an image; without a seed of its own, image number k of the run has the seed `first_seed` + k.

    Numbers and names follow from the order of the requests alone, so that a resumed run finds its files.
    """
    if first_seed < 0:
        raise UserError(f"seed={first_seed}: at least 0")
    items: list[Item] = []
    for request in requests:
        prompt = _checked_prompt(request)
        first = first_seed + len(items) if request.seed is None else request.seed
        for seed in range(first, first + request.n):
            name = f"{len(items):06d}_seed{seed}"
            extra = request.extra | request.given.cells()
            items.append(Item(name, prompt, seed, findings=request.findings, given=request.given, extra=extra))
    return items


def _checked_prompt(request: Request) -> str:
    from gen.data.compose import compose_prompt

    at = f"{request.place}: " if request.place else ""
    if not request.prompt.strip():
        raise UserError(f"{at}prompt is empty; write what to draw, for example: PA chest radiograph. No finding.")
    for name, least in (("n", 1), ("seed", 0)):
        value = getattr(request, name)
        if value is not None and value < least:
            raise UserError(f"{at}{name}={value}: at least {least}")
    try:
        return compose_prompt(request.prompt.strip(), request.view, request.sex, request.age)
    except UserError as error:
        raise UserError(f"{at}{error}") from None


def _request(row: dict[str, str], place: str, defaults: Request) -> Request:
    given = {name: text.strip() for name, text in row.items() if name in READ and text.strip()}
    values: dict[str, object] = dict(given)
    for name in ("age", "n", "seed"):
        if name in given:
            values[name] = _number(given[name], f"{place}: column {name}", whole=name != "age")
    if "findings" in given:
        values["findings"] = _labels(given["findings"])
    extra = {name: text for name, text in row.items() if name not in (*READ, *GIVEN)}
    try:
        angle = _number(row["angle"], f"{place}: column angle", whole=False) if row.get("angle", "").strip() else None
        given = given_in(row, Path(place.rpartition(": row ")[0]).parent, angle, defaults.given)
    except UserError as error:
        raise UserError(str(error) if str(error).startswith(place) else f"{place}: {error}") from None
    return replace(defaults, **values, given=given, extra=extra, place=place)


def _number(text: str, place: str, whole: bool) -> float | int:
    try:
        if whole and text.lstrip("-").isdigit():
            return int(text)  # a 63-bit seed does not survive a float
        value = float(text)
    except ValueError:
        value = math.nan
    if math.isfinite(value) and (not whole or value.is_integer()):
        return int(value) if whole else value
    raise UserError(f"{place}: {text!r} is not a {'whole ' if whole else ''}number; correct it or leave it empty")


def _labels(text: str) -> str:
    from gen.data.vocabulary import normalise_findings

    return ";".join(normalise_findings(text))


def _rows(path: Path) -> list[dict[str, str]]:
    if not path.is_file():
        raise UserError(f"{path}: no such table; give a CSV file with a column named prompt")
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            lines = list(_lines(file))
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path}: not a readable CSV table ({error}); save it as CSV in UTF-8") from None
    if not lines:
        raise UserError(f"{path}: the table is empty; write a header with the column prompt, then one prompt a line")
    header = [name.strip() for name in lines[0]]
    _check_header(path, header)
    if len(lines) == 1:
        raise UserError(f"{path}: the table has no rows; write one prompt a line below the header")
    return [_row(path, number, header, cells) for number, cells in enumerate(lines[1:], start=1)]


def _lines(file: Iterable[str]) -> Iterator[list[str]]:
    return (cells for cells in csv.reader(file) if any(cell.strip() for cell in cells))


def _check_header(path: Path, header: list[str]) -> None:
    if "prompt" not in header:
        found = ", ".join(header)
        raise UserError(f"{path}: column 'prompt' is missing (found: {found}); rename the column that holds the text")
    twice = [name for name, count in Counter(header).items() if count > 1]
    if twice:
        raise UserError(f"{path}: column {twice[0]!r} is there twice; remove or rename one")
    taken = sorted(WRITTEN & set(header))
    if taken:
        raise UserError(f"{path}: column {taken[0]!r} is one that the manifest fills in; rename or remove it")


def _row(path: Path, number: int, header: list[str], cells: list[str]) -> dict[str, str]:
    if len(cells) > len(header):
        raise UserError(
            f"{path}: row {number}: {len(cells)} cells under {len(header)} columns; put prompts with commas in quotes"
        )
    return dict(zip(header, cells + [""] * (len(header) - len(cells)), strict=True))
