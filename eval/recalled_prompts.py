"""Prompts that call up what was memorised: those with de-identification marks do (arXiv 2502.07516)."""

from __future__ import annotations

import numpy as np
import pandas as pd

from gen.data.reports import MARKS

from .context import Context
from .copies import Neighbours
from .resampling import as_figure
from .section import BAD, Section, Table, Verdict
from .stats import share

WORDS = 6  # of a report: a shorter one ("normal chest") belongs to nobody


def judge_prompts(context: Context, section: Section, found: Neighbours) -> None:
    """Marks, and prompts that are word for word a training report."""
    prompts = context.synthetic["prompt"].tolist()
    marked = np.array([bool(MARKS.search(prompt)) for prompt in prompts])
    section.figures.append(
        as_figure("prompts with de-identification marks", share(marked), len(marked), "", "low", 0.0)
    )
    reports = {_plain(text) for text in context.train.get("report", pd.Series(dtype=str))}
    reports = {text for text in reports if len(text.split()) >= WORDS}
    verbatim = np.array([_plain(prompt) in reports for prompt in prompts])
    section.figures.append(
        as_figure("prompts that are a training report", share(verbatim), len(verbatim), "", "low", 0.0)
    )
    if marked.any():
        ratio = np.median(found.made[marked]) / np.median(found.made[~marked]) if not marked.all() else float("nan")
        words = f"{int(marked.sum())} prompts hold de-identification marks; strip them (gen.data.reports.clean_report)"
        nearer = "" if np.isnan(ratio) else f": their images lie at {ratio:.2f} times the others' distance to training"
        section.verdicts.append(Verdict(BAD, f"{words}{nearer}."))
        counts = pd.Series([mark for prompt in prompts for mark in MARKS.findall(prompt)]).value_counts()
        lines = [(str(mark), str(count)) for mark, count in counts.head(10).items()]
        section.tables.append(Table("De-identification marks in prompts", ("mark", "times"), lines))


def _plain(text: str) -> str:
    return " ".join(str(text).lower().split())
