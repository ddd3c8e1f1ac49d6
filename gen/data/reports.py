"""Report text: its sections, and the gaps that de-identification leaves in it."""

from __future__ import annotations

import re

# de-identification tools leave these; as words of a prompt they drive a model to memorise single reports
GAP = "\0"
MARKS = re.compile(r"\[\*\*.*?\*\*\]|_{2,}|[Xx]{3,}|<(?:unk|name|date)>|\[(?:redacted|removed)\]", re.S)
PREPOSITIONS = r"of|on|at|by|to|in|for|from|with|since|than|dated|and|or|per|dr\.?|the|a|an"
VERBS = r"is|are|was|were|has|have|appears?|remains?|seen|noted"
# heading in small letters -> section; "text" is the body of a report without headings
HEADINGS = {
    **dict.fromkeys(("findings", "finding", "report", "observations", "chest findings"), "findings"),
    **dict.fromkeys(("impression", "impressions", "conclusion", "opinion"), "impression"),
    **dict.fromkeys(("findings and impression", "findings/impression", "impression and recommendation"), "impression"),
    **dict.fromkeys(("provisional findings impression", "provisional findings impression (pfi)"), "impression"),
    **dict.fromkeys(("indication", "indications", "history", "clinical history", "clinical indication"), "indication"),
    **dict.fromkeys(("clinical information", "clinical data", "reason for exam", "reason for study"), "indication"),
    **dict.fromkeys(("reason for examination", "reason for this examination", "medical condition"), "indication"),
    **dict.fromkeys(("comparison", "comparisons", "comparison study", "comparison films"), "comparison"),
    **dict.fromkeys(("technique", "procedure", "procedure comments", "views", "number of views"), "technique"),
    **dict.fromkeys(("exam", "examination", "study", "type of examination", "exam type"), "examination"),
    **dict.fromkeys(("recommendation", "recommendations", "recommendation(s)"), "recommendation"),
    **dict.fromkeys(("notification", "notifications", "notification(s)"), "notification"),
    **dict.fromkeys(("wet read", "preliminary report", "preliminary read", "wet read version"), "wet read"),
    **dict.fromkeys(("narrative", "final report", "final addendum"), "text"),
    "addendum": "addendum",
    "summary": "summary",  # CheXpert Plus: a code, "2-ABNORMAL, PREVIOUSLY REPORTED"
    # CheXpert Plus closes its impressions so, and signatures and numbers follow
    **dict.fromkeys(
        ("end of impression", "accession number", "dictated by", "signed by", "attestation"), "administration"
    ),
    **dict.fromkeys(("physician to physician radiology consult line",), "administration"),
}
_NAMES = "|".join(re.escape(name) for name in sorted(HEADINGS, key=len, reverse=True)).replace(r"\ ", "[ \t]+")
_CAPITALS = "|".join(re.escape(name.upper()) for name in sorted(HEADINGS, key=len, reverse=True))
_CAPITALS = _CAPITALS.replace(r"\ ", "[ \t]+")
# in any letters where a line or a sentence begins, within a line in capitals only; without a colon on a line of its own
HEADING = re.compile(
    rf"(?:(?:^|(?<=\n)|(?<=[.!?;]))[ \t]*(?i:({_NAMES}))(?:[ \t]*\#?\d)?[ \t]*:"
    rf"|(?<=\s)({_CAPITALS})[ \t]*:"
    rf"|(?:^|(?<=\n))[ \t]*({_CAPITALS})[ \t]*(?=\r?\n|$))"
)


def report_sections(text: str) -> dict[str, str]:
    """Split a report at its headings: {"findings": ..., "impression": ...}; text outside of them is under "text".

    Headings as MIMIC-CXR ("FINAL REPORT", "WET READ:", "REASON FOR EXAM:"), CheXpert Plus ("NARRATIVE:", "END OF
    IMPRESSION:") and Open-i write them; one that comes twice adds to its section.
    """
    sections: dict[str, str] = {}
    name, place = "text", 0
    for heading in HEADING.finditer(text):
        _add(sections, name, text[place : heading.start()])
        title = next(title for title in heading.groups() if title)
        name, place = HEADINGS[" ".join(title.lower().split())], heading.end()
    _add(sections, name, text[place:])
    return sections


def _add(sections: dict[str, str], name: str, body: str) -> None:
    if body := f"{sections.get(name, '')} {body.strip()}".strip():
        sections[name] = body


def clean_report(text: str) -> str:
    """Report text without de-identification marks, line breaks and list numbers, mended to whole sentences.

    A phrase that hangs on a removed word goes with it; a sentence that lost most of its words goes altogether.
    """
    text = re.sub(r"\bx-x{3,}\b", "x-ray", text, flags=re.I)
    text = " ".join(MARKS.sub(GAP, text).split())
    text = re.sub(rf"{GAP}[ -]?([FM])\b", lambda sex: "woman" if sex[1] == "F" else "man", text)  # "___F with cough"
    text = re.sub(r"(?:^|(?<=[.:;?!] ))\d{1,2}[.)] (?=[A-Z\0])", "", text)
    sentences = (_mend(sentence) for sentence in re.split(r"(?<=[.!?])(?<!\b[DM][rs]\.)\s+(?=[A-Z0-9\0])", text))
    return " ".join(sentence for sentence in sentences if sentence)


def _mend(sentence: str) -> str:
    gaps = sentence.count(GAP)
    lost_subject = re.match(rf"(?:(?:the|an?|this|these|dr\.?) )?{GAP} (?:{VERBS})\b", sentence, re.I)
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
    if re.search(rf"\b(?:is|are|was|were|has|have) {GAP}[.!?]?$", sentence, re.I):
        return ""  # "Heart size is ___."
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
