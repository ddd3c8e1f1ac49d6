"""Prompts put together: attributes in front of a sentence, and the corpus that the small text encoder reads."""

from __future__ import annotations

import math
import random

from gen.data.prompts import ADULT_FROM, VIEWS, normalise_findings, parse_prompt, prompt_from_row
from gen.data.vocabulary import NO_FINDING, PHRASES, VOCABULARY
from gen.errors import UserError

CORPUS_SIZE = 20_000
# what a prompt can say, one answer each; the first is "not said". Findings come besides, any number of them
ANSWERS: dict[str, tuple[str, ...]] = {
    "view": ("UNKNOWN", "PA", "AP", "AP SUPINE", "LATERAL"),
    "sex": ("", "M", "F"),
    "age_group": ("", "child", "adult"),
    "decade": ("", *map(str, range(11))),
}
LEFT_OUT = 0.25  # of each attribute, in prompts to learn words from


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


def attributed_prompt(rng: random.Random) -> tuple[str, dict[str, int | list[int]]]:
    """A random prompt in varied words and what it says: an index into ANSWERS each, and 0 or 1 for each finding."""
    row = _random_row(list(VOCABULARY), rng)
    row = {name: value if rng.random() >= LEFT_OUT else "" for name, value in row.items()}
    age = row["age"]
    said = {"view": row["view"] or "UNKNOWN", "sex": row["sex"], "decade": "" if age == "" else str(int(age // 10))}
    said["age_group"] = rng.choice(ANSWERS["age_group"]) if age == "" else "child" if age < ADULT_FROM else "adult"
    if age == "" and said["sex"]:  # a sex without an age has a noun, and the noun an age group
        said["age_group"] = said["age_group"] or "adult"
    row["age_group"] = said["age_group"]
    findings = normalise_findings(row["findings"])
    prompt = prompt_from_row(row, rng, drop_view=0, drop_sex=0, drop_age=0, drop_findings=0)
    numbers = {name: answers.index(said[name]) for name, answers in ANSWERS.items()}
    return prompt, {**numbers, "findings": [int(label in findings) for label in VOCABULARY]}


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
