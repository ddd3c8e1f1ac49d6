"""Findings of an index filled in from its reports."""

from __future__ import annotations

import pandas as pd

from gen.data.labeller import label_report
from gen.errors import UserError

UNCERTAIN = "uncertain"


def label_table(table: pd.DataFrame, name: str, keep: bool = True) -> pd.DataFrame:
    """An index with `findings` from its reports and the doubtful ones in a column `uncertain`, both joined by ";".

    `keep` leaves findings alone that are known already. Rows without a report stay as they are.
    Errors: UserError where no row has a report.
    """
    reports = table["report"].fillna("").astype(str) if "report" in table else pd.Series("", index=table.index)
    if not reports.str.strip().any():
        raise UserError(f"{name}: no row has a report to read; build the index from a source with reports")
    known = table["findings"].fillna("") if "findings" in table else pd.Series("", index=table.index)
    states = {text: label_report(text) for text in reports.unique() if text.strip()}
    said = [states.get(text, {}) for text in reports]
    findings = [
        old if old and keep else (_joined(each, "positive") or old) for old, each in zip(known, said, strict=True)
    ]
    return table.assign(findings=findings, **{UNCERTAIN: [_joined(each, UNCERTAIN) for each in said]})


def _joined(states: dict[str, str], wanted: str) -> str:
    return ";".join(label for label, state in states.items() if state == wanted)
