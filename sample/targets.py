"""A target distribution: groups of images with a count each, from a YAML or CSV file."""

from __future__ import annotations

import difflib
import itertools
import random
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
from pydantic import Field, ValidationError, ValidationInfo, field_validator

from gen.config import load_config
from gen.data.prompts import parse_prompt
from gen.data.vocabulary import VOCABULARY, normalise_findings
from gen.errors import UserError
from gen.schema import Strict

from .conditions import Condition

AGE = re.compile(r"(\d{1,3})(?:\s*-\s*(\d{1,3}))?")
OLDEST = 120  # years
Weights = dict[str, float]
TAKES = {"view": "PA, AP, AP SUPINE, LATERAL", "sex": "M, F", "age": f"60 or 40-65, up to {OLDEST}"}


def _band(text: str) -> tuple[int, int] | None:
    """First year of an age band and the one after its last; None where the text is no band."""
    match = AGE.fullmatch(text)
    if match is None:
        return None
    first = int(match[1])
    end = int(match[2]) if match[2] else first + 1
    return (first, end) if first < end <= OLDEST + 1 else None


KNOWN: dict[str, Callable[[str], bool]] = {
    "view": lambda text: text in TAKES["view"].split(", "),
    "sex": lambda text: text in ("M", "F"),
    "age": lambda text: _band(text) is not None,
}


class Group(Strict):
    """So many images of one kind; a list shares them out evenly, a table by weight.

    `{n: 300, findings: Edema;Cardiomegaly, view: {PA: 2, AP: 1}, sex: [M, F], age: [18-40, 40-90]}`: an age band
    begins with its first year and ends before its last. `prompt` gives words of your own instead of findings.
    """

    n: int = Field(gt=0, description="images")
    findings: str = Field("", description="labels joined by ;")
    view: Weights = Field(default_factory=lambda: {"": 1.0}, description="PA, AP, AP SUPINE, LATERAL; empty: not said")
    sex: Weights = Field(default_factory=lambda: {"": 1.0}, description="M, F; empty: not said")
    age: Weights = Field(default_factory=lambda: {"": 1.0}, description="years, 60 or 40-65; empty: not said")
    prompt: str = Field("", description="free words; view, sex and age are put before them")

    @field_validator("view", "sex", "age", mode="before")
    @classmethod
    def _weighted(cls, value: object) -> object:
        """One value, a list (in a CSV cell: PA|AP) or a table of weights."""
        if isinstance(value, str):
            value = [part.strip() for part in value.split("|")]
        if isinstance(value, list | tuple):
            return dict.fromkeys(map(str, value), 1.0)
        return {str(key): weight for key, weight in value.items()} if isinstance(value, dict) else {str(value): 1.0}

    @field_validator("view", "sex", "age")
    @classmethod
    def _positive(cls, value: Weights) -> Weights:
        if not value or min(value.values()) < 0 or not 0 < sum(value.values()) < float("inf"):
            raise ValueError("weights are numbers from 0, one of them above")
        return value

    @field_validator("view", "sex", "age")
    @classmethod
    def _known(cls, value: Weights, info: ValidationInfo) -> Weights:
        for name in value:
            if name and not KNOWN[str(info.field_name)](name):
                raise ValueError(f"{name!r} is not one; it takes {TAKES[str(info.field_name)]}")
        return value

    @field_validator("findings")
    @classmethod
    def _in_vocabulary(cls, value: str) -> str:
        labels = normalise_findings(value)
        for label in labels:
            if label not in VOCABULARY:
                near = difflib.get_close_matches(label, VOCABULARY, 1)
                raise ValueError(f"no finding {label!r} is known{f'; {near[0]}?' if near else ''}")
        return ";".join(labels)


class Target(Strict):
    """A target file: groups one after another."""

    groups: tuple[Group, ...] = Field(min_length=1, description="what to draw, and how often")


def read_target(path: Path) -> Target:
    """A target from YAML (`groups: [{n: ..., findings: ...}, ...]`) or CSV (a column a field, a group a line).

    Errors: UserError naming the file, the group and the field.
    """
    if path.suffix.lower() != ".csv":
        return load_config(Target, path)
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
    except FileNotFoundError:
        raise UserError(f"{path}: no such target file; write one with the columns n and findings") from None
    except (ValueError, OSError) as error:
        raise UserError(f"{path}: not a readable CSV table ({str(error).splitlines()[0]}); save it again") from None
    rows = [{str(name).strip(): text.strip() for name, text in row.items() if text.strip()} for row in _rows(table)]
    try:
        return Target.model_validate({"groups": rows})
    except ValidationError as error:
        problem = error.errors()[0]
        row, *field = problem["loc"][1:] or ("",)
        place = f"row {int(row) + 1}: {'.'.join(map(str, field))}" if row != "" else "the table"
        raise UserError(f"{path}: {place}: {problem['msg'].removeprefix('Value error, ')}") from None


def _rows(table: pd.DataFrame) -> list[dict]:
    return table.to_dict("records")


def target_conditions(target: Target, rng: random.Random) -> Iterator[Condition]:
    """The conditions of a target, in exactly the numbers asked for."""
    for number, group in enumerate(target.groups, start=1):
        findings = group.findings or parse_prompt(group.prompt)["findings"]
        for (view, sex, band), count in shared_out(group).items():
            for _ in range(count):
                age = _age(band, rng)
                yield Condition(view, sex, age, findings, f"target {number}", prompt=group.prompt)


def shared_out(group: Group) -> dict[tuple[str, str, str], int]:
    """How many images each view, sex and age band gets: the largest remainders get what rounding leaves over."""
    cells = list(itertools.product(group.view, group.sex, group.age))
    weights = [group.view[view] * group.sex[sex] * group.age[age] for view, sex, age in cells]
    quotas = [group.n * weight / sum(weights) for weight in weights]
    counts = [int(quota) for quota in quotas]
    by_remainder = sorted(range(len(cells)), key=lambda cell: (counts[cell] - quotas[cell], cell))
    for cell in by_remainder[: group.n - sum(counts)]:
        counts[cell] += 1
    return dict(zip(cells, counts, strict=True))


def _age(band: str, rng: random.Random) -> float | None:
    years = _band(band)
    if years is None:
        return None
    year = rng.randrange(*years)
    return float(year) if year else rng.randrange(1, 12) / 12
