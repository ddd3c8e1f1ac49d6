"""The page: one HTML file that needs nothing else, and reads on a phone."""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from gen.provenance import NOTICE

from .section import BAD, GOOD, UNCLEAR, Figure, Section

TEMPLATE = "page.html"
TITLE = "What these synthetic radiographs are worth"
KINDS = ((GOOD, "Good"), (BAD, "Not good"), (UNCLEAR, "Cannot be told"))
SIGNIFICANT = 3  # digits


def render(record: dict, sections: Sequence[Section]) -> str:
    """The whole page as text; plots are embedded."""
    pages = Environment(loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined)
    pages.filters |= {"number": number, "interval": interval, "embedded": embedded, "standing": standing}
    return pages.get_template(TEMPLATE).render(
        title=TITLE, notice=NOTICE, record=record, sections=sections, verdicts=verdicts(sections), facts=facts(record)
    )


def verdicts(sections: Sequence[Section]) -> list[tuple[str, str, list[tuple[str, str]]]]:
    """For each kind its class, its heading, and (section title, sentence) pairs; empty kinds are left out."""
    found = [
        (kind, heading, [(s.title, v.text) for s in sections for v in s.verdicts if v.kind == kind])
        for kind, heading in KINDS
    ]
    return [one for one in found if one[2]]


def facts(record: dict) -> list[tuple[str, str]]:
    """What was measured, as words and values for the head of the page."""
    counts, made = record["counts"], record["synthetic"]
    reference = record["reference_split"]
    return [
        ("Synthetic", f"{counts['synthetic']} images of {counts['prompts']} prompts, {_by(made['size'])}"),
        ("Generator", ", ".join(made["models"]) or "not stated in the manifest"),
        ("Real", f"{counts['reference']} in split {reference}, {counts['train']} in train; {record['real']['name']}"),
        ("Features", ", ".join(f"{n['name']} ({n['standing']}, {n['fingerprint']})" for n in record["networks"])),
        ("Fingerprints", f"real {record['real']['files']}, synthetic {made['files']}; seed {record['seed']}"),
        ("Made by", f"cxr-gen {record['version']}"),
    ]


def number(value: float | None) -> str:
    """Three significant digits; a dash for what is not known."""
    if value is None or not math.isfinite(value):
        return "–"
    if value and (abs(value) < 1e-3 or abs(value) >= 1e5):
        return f"{value:.2e}"
    if float(value).is_integer() and abs(value) >= 100:
        return f"{value:.0f}"
    digits = SIGNIFICANT - 1 - (math.floor(math.log10(abs(value))) if value else 0)
    return f"{value:.{max(0, min(digits, 4))}f}"


def interval(figure: Figure) -> str:
    """The bounds, or nothing where there are none."""
    if figure.low is None or figure.high is None or not math.isfinite(figure.low):
        return ""
    return f"{number(figure.low)} to {number(figure.high)}"


def standing(figure: Figure) -> str:
    """Good as real radiographs, bad with its whole interval, unclear between the two; empty where nothing says so."""
    if figure.floor is None or not figure.better or figure.low is None or figure.high is None:
        return ""
    sign = 1 if figure.better == "low" else -1
    best = figure.low if figure.better == "low" else figure.high
    if sign * figure.value <= sign * figure.floor:
        return GOOD
    return UNCLEAR if sign * best <= sign * figure.floor else BAD


def embedded(png: bytes) -> str:
    """A picture as a data address."""
    return "data:image/png;base64," + base64.b64encode(png).decode()


def _by(size: Sequence[int]) -> str:
    return f"{size[0]} x {size[1]} pixels" if size and size[0] else "size not read"
