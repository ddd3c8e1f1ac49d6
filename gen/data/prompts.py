"""Prompts: an index row in the varied words of radiology, and the attributes read back from free text."""

from __future__ import annotations

import math
import random
import re
from collections.abc import Mapping

from gen.data.reports import clean_report, report_sections
from gen.data.vocabulary import (
    NO_FINDING,
    NORMAL_PHRASES,
    PHRASES,
    READ_ONLY,
    known_names,
    normalise_findings,
    without_article,
)

__all__ = ["clean_report", "normalise_findings", "parse_prompt", "prompt_from_row", "report_sections"]

VIEWS = {
    "PA": ("PA chest radiograph", "posteroanterior chest radiograph", "PA chest X-ray", "frontal PA chest view"),
    "AP": ("AP chest radiograph", "anteroposterior chest radiograph", "AP chest X-ray", "frontal AP chest view"),
    "AP SUPINE": ("supine AP chest radiograph", "AP supine chest view", "supine anteroposterior chest X-ray"),
    "LATERAL": ("lateral chest radiograph", "lateral chest view", "lateral chest X-ray"),
    "UNKNOWN": ("chest radiograph", "chest X-ray", "chest film"),
}
GROWN = {"M": ("man", "male patient", "male"), "F": ("woman", "female patient", "female"), "": ("patient", "adult")}
YOUNG = {"M": ("boy", "male child"), "F": ("girl", "female child"), "": ("child", "paediatric patient")}
ADULT_FROM = 18  # years
MAX_REPORT_WORDS = 60

# by what they mention besides the view: {view} "PA chest radiograph", {person} "a 64-year-old man", {subject} the same
# without article, {findings} "cardiomegaly and a pleural effusion", {list} the same without articles
TEMPLATES: dict[tuple[bool, bool], tuple[str, ...]] = {
    (True, True): (
        "{view} of {person} with {findings}.",
        "{view}, {subject}. {list}.",
        "{view} of {person}. Findings: {list}.",
        "{view} showing {findings} in {person}.",
        "{view} of {person} demonstrating {findings}.",
        "{view}. {subject}. Impression: {list}.",
        "{subject}, {view}: {list}.",
        "{subject}. {view} shows {findings}.",
        "{findings} on {view} of {person}.",
        "{list}. {view}, {subject}.",
        "{view} in {person}. There is {findings}.",
        "{view}, {subject}, {list}",
        "{view} of {person} consistent with {findings}.",
        "{view} obtained in {person}; {findings}.",
    ),
    (False, True): (
        "{view} with {findings}.",
        "{view}. {list}.",
        "{view} showing {findings}.",
        "{findings} on {view}.",
        "{view}. Findings: {list}.",
        "{list}, {view}",
    ),
    (True, False): ("{view} of {person}.", "{view}, {subject}.", "{subject}, {view}.", "{view} in {person}."),
    (False, False): ("{view}.", "{view}"),
}


def prompt_from_row(
    row: Mapping,
    rng: random.Random | None = None,
    *,
    drop_view: float = 0.1,
    drop_sex: float = 0.15,
    drop_age: float = 0.15,
    drop_findings: float = 0.1,
    use_report: float = 0.5,
) -> str:
    """Say an index row's view, sex, age and findings in one prompt.

    Without `rng` the canonical wording: "PA chest radiograph of a 64-year-old man with cardiomegaly and a pleural
    effusion." With it, wording and order vary, each attribute is left out with its probability (partial prompts work
    then too), and a row with a report uses the report's own words with probability `use_report`.
    """

    def kept(probability: float) -> bool:
        return rng is None or rng.random() >= probability

    view = _text(row, "view") if kept(drop_view) else "UNKNOWN"
    sex = _text(row, "sex") if kept(drop_sex) else ""
    age = _age(row) if kept(drop_age) else math.nan
    subject = _subject(sex, age, _text(row, "age_group"), rng)
    opening = _pick(VIEWS.get(view, VIEWS["UNKNOWN"]), rng)
    told = rng is not None and rng.random() < use_report and _text(row, "report")
    if told and (report := _report_words(told)):
        return f"{_fill(TEMPLATES[bool(subject), False], opening, subject, [], rng).rstrip('.')}. {report}"
    findings = normalise_findings(_text(row, "findings")) if kept(drop_findings) else []
    return _fill(TEMPLATES[bool(subject), bool(findings)], opening, subject, _phrases(findings, rng), rng)


def parse_prompt(prompt: str) -> dict:
    """Attributes that a free-text prompt mentions: view, sex, age (years, NaN unknown), findings (";"-joined labels).

    Negated findings ("no effusion", "without a mass or nodule") do not count.
    """
    return {
        "view": _read_view(prompt),
        "sex": _read_sex(prompt),
        "age": _read_age(prompt),
        "findings": ";".join(_read_findings(prompt)),
    }


def _text(row: Mapping, name: str) -> str:
    value = row.get(name, "")
    return value if isinstance(value, str) else ""


def _age(row: Mapping) -> float:
    try:
        return float(row.get("age", math.nan))
    except (TypeError, ValueError):
        return math.nan


def _pick(choices: tuple[str, ...], rng: random.Random | None) -> str:
    return choices[0] if rng is None else rng.choice(choices)


def _subject(sex: str, age: float, age_group: str, rng: random.Random | None) -> str:
    young = age < ADULT_FROM or (math.isnan(age) and age_group == "child")
    nouns = (YOUNG if young else GROWN)[sex if sex in GROWN else ""]
    if not math.isnan(age):
        unit, number = ("month", round(age * 12)) if age < 1 else ("year", int(age))
        # "64-year-old adult" says its age twice
        noun = "patient" if not young and not sex else _pick(nouns, rng)
        return f"{number}-{unit}-old {noun}"
    if sex or young:
        return _pick(nouns, rng)
    return "adult" if age_group == "adult" else ""


def _phrases(findings: list[str], rng: random.Random | None) -> list[str]:
    if rng is not None:
        findings = rng.sample(findings, len(findings))
    choices: dict[str, tuple[str, ...]] = {NO_FINDING: NORMAL_PHRASES, **PHRASES}
    return [_pick(choices.get(finding, (finding,)), rng) for finding in findings]


def _fill(templates: tuple[str, ...], view: str, subject: str, phrases: list[str], rng: random.Random | None) -> str:
    template = _pick(templates, rng)
    if template.startswith("{findings}") and phrases and phrases[0] in NORMAL_PHRASES:
        template = templates[0]  # "no acute findings on a radiograph of" reads as a request for something else
    words = {
        "view": view,
        "subject": subject,
        "person": _with_article(subject),
        "findings": _joined(phrases),
        "list": _joined([without_article(phrase) for phrase in phrases]) if "{list}" in template else "",
    }
    return _capitalised(template.format(**words))


def _with_article(noun: str) -> str:
    vowel = re.match(r"[aeiou]|8\d?-|8\d\d|11-|18-", noun)  # an 8-, 11-, 18- or 80-year-old
    return f"{'an' if vowel else 'a'} {noun}" if noun else ""


def _joined(words: list[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else "".join(words)


def _capitalised(text: str) -> str:
    return re.sub(r"(^|[.:] )([a-z])", lambda match: match[1] + match[2].upper(), text)


def _report_words(report: str) -> str:
    sections = report_sections(report)
    body = next((sections[name] for name in ("impression", "findings", "text") if name in sections), "")
    return " ".join(clean_report(body).split()[:MAX_REPORT_WORDS])


LATERAL = (
    r"\blateral\s+(?:chest|view|radiograph|projection|x-?ray|film|image)|^\W*lateral\W*(?:$|[,.;:])|\bview\W+lateral\b"
)
VIEW_PATTERNS = {
    "PA": r"\bPA\b|\bpostero-?\s?anterior\b",
    "AP SUPINE": r"\bsupine\b",
    "AP": r"\bAP\b|\bantero-?\s?posterior\b",
    "LATERAL": LATERAL,
}
SEX_PATTERNS = {
    "F": r"\b(?:woman|female|girl|lady|women)\b|\d\s*-?(?:y|yo|y/o|year[s -]*old)?\s*F\b|\bsex\W+f\b",
    "M": r"\b(?:man|male|boy|gentleman|men)\b|\d\s*-?(?:y|yo|y/o|year[s -]*old)?\s*M\b|\bsex\W+m\b",
}
AGE_IN_YEARS = re.compile(
    r"\b(\d{1,3})\s*-?\s*(?:years?|yrs?|y/o|yo|y\.?o\.?)\b|\baged?\W{0,2}(\d{1,3})\b|\b(\d{1,3})\s?y?\s?[MF]\b"
    r"|\b(?:male|female|man|woman|boy|girl)\W{1,3}(\d{1,3})\b",
    re.I,
)
AGE_IN_MONTHS = re.compile(r"\b(\d{1,2})[\s-]*months?[\s-]*old\b", re.I)

CLAUSE_ENDS = re.compile(r"(?<!\bE)[.;:\n]\s|[.;:\n]$|\b(?:but|however|although|except|with(?! no\b))\b", re.I)
NEGATION = re.compile(
    r"\b(?:no|not|without|absence of|absent|free of|negative for|rule out|rules out|ruled out|excludes?|resolved)\b",
    re.I,
)
DENIED_AFTER = re.compile(
    r"^\s*(?:is|are|has|have|was)?\s*(?:absent|not|resolved|ruled out|excluded|been excluded)\b", re.I
)


def _read_view(prompt: str) -> str:
    matches = (view for view, pattern in VIEW_PATTERNS.items() if re.search(pattern, prompt, re.I))
    return next(matches, "UNKNOWN")


def _read_sex(prompt: str) -> str:
    return next((sex for sex, pattern in SEX_PATTERNS.items() if re.search(pattern, prompt, re.I)), "")


def _read_age(prompt: str) -> float:
    if months := AGE_IN_MONTHS.search(prompt):
        return int(months[1]) / 12
    years = AGE_IN_YEARS.search(prompt)
    return float(next(group for group in years.groups() if group)) if years else math.nan


def _read_findings(prompt: str) -> list[str]:
    found: dict[str, None] = {}
    for clause in CLAUSE_ENDS.split(prompt):
        for match in _FINDING.finditer(clause):
            label = _LABELS[_key(match[1])]
            before, after = clause[: match.start()], clause[match.end() :]
            if label == NO_FINDING or not (NEGATION.search(before) or DENIED_AFTER.match(after)):
                found[label] = None
    return [label for label in found if label != NO_FINDING] or list(found)


def _key(phrase: str) -> str:
    return " ".join(re.split(r"[\s_]+", phrase.lower()))


def _finding_pattern(names: Mapping[str, str]) -> re.Pattern:
    """Longest names first, so that "bacterial pneumonia" is not read as "pneumonia" too."""
    ordered = sorted(names, key=len, reverse=True)
    return re.compile(r"\b(" + "|".join(re.escape(name).replace(r"\ ", r"[\s_]+") for name in ordered) + r")s?\b", re.I)


_LABELS = known_names() | READ_ONLY
_FINDING = _finding_pattern(_LABELS)
