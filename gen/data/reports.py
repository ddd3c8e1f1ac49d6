"""Report text: its sections, and the gaps that de-identification leaves in it."""

from __future__ import annotations

import re

# de-identification tools leave these; as words of a prompt they drive a model to memorise single reports
GAP = "\0"
MARKS = re.compile(r"\[\*\*.*?\*\*\]|_{2,}|[Xx]{3,}|<(?:unk|name|date)>|\[(?:redacted|removed)\]", re.S)
PREPOSITIONS = r"of|on|at|by|to|in|for|from|with|since|than|dated|and|or|per|dr\.?|the|a|an"
VERBS = r"is|are|was|were|has|have|appears?|remains?|seen|noted"
HEADINGS = {
    "findings": "findings",
    "impression": "impression",
    "conclusion": "impression",
    "indication": "indication",
    "history": "indication",
    "clinical history": "indication",
    "clinical information": "indication",
    "reason for exam": "indication",
    "reason for examination": "indication",
    "comparison": "comparison",
    "comparisons": "comparison",
    "technique": "technique",
    "procedure": "technique",
    "exam": "examination",
    "examination": "examination",
    "recommendation": "recommendation",
    "recommendations": "recommendation",
    "notification": "notification",
    "wet read": "wet read",
}
HEADING = re.compile(
    r"(?:^|(?<=\n)|(?<=[.\s]))[ \t]*(" + "|".join(sorted(HEADINGS, key=len, reverse=True)) + r")[ \t]*:", re.I
)


def report_sections(text: str) -> dict[str, str]:
    """Split a report at its headings: {"findings": ..., "impression": ...}; text before any heading is under "text"."""
    pieces = HEADING.split(text)
    sections = {"text": pieces[0].strip()}
    for heading, body in zip(pieces[1::2], pieces[2::2], strict=True):
        name = HEADINGS[heading.lower()]
        sections[name] = f"{sections.get(name, '')} {body.strip()}".strip()
    return {name: body for name, body in sections.items() if body}


def clean_report(text: str) -> str:
    """Report text without de-identification marks, line breaks and list numbers, mended to whole sentences.

    A phrase that hangs on a removed word goes with it; a sentence that lost most of its words goes altogether.
    """
    text = re.sub(r"\bx-x{3,}\b", "x-ray", text, flags=re.I)
    text = " ".join(MARKS.sub(GAP, text).split())
    text = re.sub(r"(?:^|(?<=[.:;?!] ))\d{1,2}[.)] (?=[A-Z\0])", "", text)
    sentences = (_mend(sentence) for sentence in re.split(r"(?<=[.!?])\s+(?=[A-Z0-9\0])", text))
    return " ".join(sentence for sentence in sentences if sentence)


def _mend(sentence: str) -> str:
    gaps = sentence.count(GAP)
    lost_subject = re.match(rf"(?:(?:the|an?|this|these) )?{GAP} (?:{VERBS})\b", sentence, re.I)
    if gaps and (lost_subject or _words(sentence) < 2 * gaps + 1):
        return ""
    sentence = re.sub(rf"{GAP}(?:[- ]years?[- ]old|[- ]hours?\b|[- ](?:a\.?m|p\.?m)\b)", GAP, sentence)
    sentence = re.sub(rf"\b(no|the|an?|any) {GAP} of (?:an? |the )?", r"\1 ", sentence, flags=re.I)
    sentence = re.sub(
        rf"\b(?:compared (?:to|with)|in comparison (?:to|with)) (?:the )?{GAP}", GAP, sentence, flags=re.I
    )
    hanging = rf"(?:\b(?:{PREPOSITIONS}) )+{GAP}(?:[ ,]*{GAP})*(?=\s*(?:[.,;:)?!]|$|\b(?:{PREPOSITIONS}|{VERBS})\b))"
    for _ in range(sentence.count(GAP)):
        sentence = re.sub(hanging, GAP, sentence, flags=re.I)
    sentence = _tidy(sentence.replace(GAP, " "))
    return "" if _words(sentence) < (2 if gaps else 1) else sentence[0].upper() + sentence[1:]


def _tidy(sentence: str) -> str:
    """Close the spaces and drop the punctuation and prepositions that removed words leave behind."""
    sentence = " ".join(re.sub(r"\(\s*[,;]?\s*\)", " ", sentence).split())
    sentence = re.sub(r"\s+([.,;:?!)])", r"\1", sentence)
    sentence = re.sub(r"[,;:]+(?=[.,;:?!])", "", sentence).lstrip(" ,;:.-/")
    sentence = re.sub(r"^(?:of|than|by|since|and|or)\s+", "", sentence, flags=re.I)
    return re.sub(rf"(?:\s+(?:{PREPOSITIONS}))+(?=\.$)", "", sentence, flags=re.I)


def _words(sentence: str) -> int:
    return len(re.findall(r"[A-Za-z]{2,}", sentence))
