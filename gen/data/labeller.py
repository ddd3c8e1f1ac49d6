"""What a report says of CheXpert's fourteen labels, by rules over the words in vocabulary.yaml.

Mentions are found by phrases; within a clause, cues before and after a mention deny or doubt it, as in the labeller of
CheXpert (Irvin et al. 2019) and NegEx (Chapman et al. 2001). Over a report: positive, then uncertain, then negative.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Literal, NamedTuple

import yaml

from gen.data.reports import MARKS, report_sections
from gen.data.vocabulary import NO_FINDING

State = Literal["positive", "negative", "uncertain"]
LABELS = (
    *(NO_FINDING, "Enlarged Cardiomediastinum", "Cardiomegaly", "Lung Lesion", "Lung Opacity", "Edema"),
    *("Consolidation", "Pneumonia", "Atelectasis", "Pneumothorax", "Pleural Effusion", "Pleural Other"),
    *("Fracture", "Support Devices"),
)
STRENGTH = {"negative": 0, "uncertain": 1, "positive": 2}
# what is seen; the reason for the examination and earlier films speak of something else
READ_SECTIONS = ("text", "findings", "impression")
PRELIMINARY = "wet read"  # where there is no final report
VOCABULARY = Path(__file__).with_name("vocabulary.yaml")
SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[a-z0-9])|\n\s*\n|(?<=[a-z)])\.(?=[a-z])|\s\d{1,2}[.)]\s")
KEPT_SENTENCES = 65536  # reports repeat themselves


class Phrase(NamedTuple):
    """A phrase's rest after its first word, the label it speaks of ("" to pass over) and in which sense."""

    pattern: re.Pattern
    label: str
    sense: str


class Mention(NamedTuple):
    start: int
    end: int
    label: str
    sense: str


@dataclass(frozen=True)
class Rules:
    """The vocabulary file, compiled."""

    phrases: dict[str, tuple[Phrase, ...]]
    breaks: re.Pattern
    no_denial: re.Pattern
    denied_before: re.Pattern
    denied_after: re.Pattern
    doubted_before: re.Pattern
    doubted_after: re.Pattern
    alternative_after: re.Pattern
    hypothetical: re.Pattern


def label_report(text: str) -> dict[str, State]:
    """The state of each label that a report mentions; labels it passes over in silence are absent.

    "No Finding" is positive where nothing but support devices is positive or uncertain.
    """
    sections = report_sections(text)
    bodies = [sections[name] for name in READ_SECTIONS if name in sections] or [sections.get(PRELIMINARY, "")]
    found: dict[str, State] = {}
    for sentence in (sentence for body in bodies for sentence in _sentences(body)):
        for label, state in label_sentence(sentence):
            if label not in found or STRENGTH[state] > STRENGTH[found[label]]:
                found[label] = state
    if any(bodies) and all(state == "negative" for label, state in found.items() if label != "Support Devices"):
        found[NO_FINDING] = "positive"
    return {label: found[label] for label in LABELS if label in found}


@lru_cache(maxsize=KEPT_SENTENCES)
def label_sentence(sentence: str) -> tuple[tuple[str, State], ...]:
    """Labels and states of one lower-case sentence without hyphens."""
    rules = _rules()
    breaks = [found.span() for found in rules.breaks.finditer(sentence)]
    states = ((mention.label, _state(sentence, mention, breaks, rules)) for mention in _mentions(sentence, rules))
    return tuple((label, state) for label, state in states if state)


def _sentences(text: str) -> list[str]:
    text = MARKS.sub("xxxx", text).lower().replace("-", " ").replace("/", " ")
    return [" ".join(sentence.split()) for sentence in SENTENCE_END.split(text) if sentence and sentence.strip()]


def _mentions(sentence: str, rules: Rules) -> list[Mention]:
    """The longest mention of each label at each word, less those that begin in a phrase to be passed over."""
    found: list[Mention] = []
    for word in re.finditer(r"[\w']+", sentence):
        here: dict[str, Mention] = {}
        for phrase in rules.phrases.get(word[0], ()):
            match = phrase.pattern.match(sentence, word.end())
            if match and (phrase.label not in here or match.end() > here[phrase.label].end):
                here[phrase.label] = Mention(word.start(), match.end(), phrase.label, phrase.sense)
        found += here.values()
    passed = [mention for mention in found if not mention.label]
    return [
        mention
        for mention in found
        if mention.label and not any(over.start <= mention.start < over.end for over in passed)
    ]


def _state(sentence: str, mention: Mention, breaks: list[tuple[int, int]], rules: Rules) -> State | None:
    """None where the clause says what to look for, not what is there."""
    start = max((end for _, end in breaks if end <= mention.start), default=0)
    end = min((start for start, _ in breaks if start >= mention.end), default=len(sentence))
    before, after = sentence[start : mention.start], sentence[mention.end : end]
    if mention.sense == "normal":
        return "negative"
    if rules.hypothetical.search(before):
        return None
    if rules.doubted_after.match(after):
        return "uncertain"
    inside = sentence[mention.start : mention.end]  # "heart is not enlarged"
    if rules.denied_before.search(rules.no_denial.sub(" ", before + inside)) or rules.denied_after.match(after):
        return "negative"
    doubted = rules.doubted_before.search(before) or rules.alternative_after.match(after)
    return "uncertain" if doubted or mention.sense == "signs" else "positive"


@cache
def _rules() -> Rules:
    words = yaml.safe_load(VOCABULARY.read_text(encoding="utf-8"))
    phrases: dict[str, list[Phrase]] = {}
    for label, sense, text in _listed(words):
        for first, rest in _first_words(text):
            phrases.setdefault(first, []).append(Phrase(rest, label, sense))
    compiled = {name: re.compile(cue) for name, cue in words.items() if isinstance(cue, str)}
    return Rules({first: tuple(several) for first, several in phrases.items()}, **compiled)


def _listed(words: dict) -> Iterator[tuple[str, str, str]]:
    for sense in ("mentions", "signs", "normal"):
        yield from ((label, sense, text) for label, texts in words[sense].items() for text in texts)
    yield from (("", "ignored", text) for text in words["ignored"])


def _first_words(text: str) -> Iterator[tuple[str, re.Pattern]]:
    """A phrase for each of its first words, so that a sentence is looked up word by word."""
    head, rest = _split_head(text)
    for choice in head:
        first, *more = choice.split(" ", 1)
        tail = (f" {more[0]}" if more else "") + rest
        pattern = re.compile(tail.replace(" * ", r"(?: [\w'%,]+){0,4}? ") + r"(?:s|es)?\b")
        yield first, pattern
        if not more and not rest:
            yield f"{first}s", pattern


def _split_head(text: str) -> tuple[list[str], str]:
    """The alternatives a phrase may open with, and what follows: "(a|b c) d" -> ["a", "b c"], " d"."""
    if not text.startswith("("):
        first, _, rest = text.partition(" ")
        return [first], f" {rest}" if rest else ""
    depth = 0
    for place, letter in enumerate(text):
        depth += {"(": 1, ")": -1}.get(letter, 0)
        if depth == 0:
            return _alternatives(text[1:place]), text[place + 1 :]
    raise ValueError(f"{VOCABULARY.name}: {text!r} closes no bracket")


def _alternatives(text: str) -> list[str]:
    parts, depth = [""], 0
    for letter in text:
        depth += {"(": 1, ")": -1}.get(letter, 0)
        if letter == "|" and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    return parts
