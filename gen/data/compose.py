"""Prompts put together: attributes in front of a sentence, and the corpus that the small text encoder reads."""

from __future__ import annotations

import math
import random

from gen.data.prompts import VIEWS, parse_prompt, prompt_from_row
from gen.data.vocabulary import NO_FINDING, PHRASES
from gen.errors import UserError

CORPUS_SIZE = 20_000


def attributes(prompt: str) -> dict:
    """What a prompt says of view, sex, age (None unknown) and findings (";"-joined labels)."""
    found = parse_prompt(prompt)
    return found | {"age": None if math.isnan(found["age"]) else found["age"]}


def compose_prompt(prompt: str, view: str | None = None, sex: str | None = None, age: float | None = None) -> str:
    """Put view, sex and age before a prompt that does not mention them.

    Errors: UserError for an unknown view or sex, an impossible age, or one that contradicts the prompt.
    """
    said = attributes(prompt)
    given = {"view": _checked_view(view), "sex": _checked_sex(sex), "age": _checked_age(age)}
    for name, value in given.items():
        if value is not None and said[name] not in (None, "", "UNKNOWN", value):
            raise UserError(f"{name}={value}: the prompt {prompt!r} says {said[name]}; give one of the two")
    new = {name: value for name, value in given.items() if value is not None and value != said[name]}
    if not new:
        return prompt
    opening = prompt_from_row({"view": said["view"], **new} if "view" not in new else new)
    return f"{opening} {prompt}".strip()


def prompt_corpus(size: int = CORPUS_SIZE) -> list[str]:
    """Sentences over all views, sexes, ages and findings, the same on every machine."""
    rng = random.Random(0)
    labels = [*PHRASES, NO_FINDING]
    return [prompt_from_row(_random_row(labels, rng), rng) for _ in range(size)]


def _random_row(labels: list[str], rng: random.Random) -> dict:
    return {
        "view": rng.choice(list(VIEWS)),
        "sex": rng.choice(["M", "F"]),
        "age": rng.choice([rng.randrange(101), rng.randrange(1, 12) / 12]),
        "findings": ";".join(rng.sample(labels, rng.randint(1, 3))),
    }


def _checked_view(view: str | None) -> str | None:
    if view is not None and view.upper() not in VIEWS:
        raise UserError(f"view={view}: one of {', '.join(VIEWS)}")
    return view.upper() if view is not None else None


def _checked_sex(sex: str | None) -> str | None:
    if sex is not None and sex.upper() not in ("M", "F"):
        raise UserError(f"sex={sex}: M or F")
    return sex.upper() if sex is not None else None


def _checked_age(age: float | None) -> float | None:
    if age is not None and not 0 <= age <= 120:
        raise UserError(f"age={age}: years, from 0 to 120")
    return age
