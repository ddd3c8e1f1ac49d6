"""An index in a screenful: what a data set holds, source by source."""

from __future__ import annotations

import numpy as np
import pandas as pd

from gen.data.index import ALLOWED


def summary(table: pd.DataFrame, top: int = 12) -> str:
    """A table for people: images, patients, splits, views, sexes, ages and commonest findings of each source."""
    sources = table["source"] if "source" in table else pd.Series("", index=table.index)
    groups = {str(name) or "-": rows for name, rows in table.groupby(sources)}
    if len(groups) > 1:
        groups["all"] = table
    columns = [_counts(rows) for rows in groups.values()]
    lines = [["", *groups]]
    lines += [[label, *(column.get(label, "") for column in columns)] for label in _labels(columns)]
    return f"{aligned_right(lines)}\n\nfindings: {_top_findings(table, top)}"


def _counts(rows: pd.DataFrame) -> dict[str, str]:
    counts = {"images": str(len(rows)), "patients": str(rows["patient_id"].nunique())}
    for column, values in (("split", ALLOWED["split"]), ("view", ALLOWED["view"]), ("sex", ALLOWED["sex"])):
        if column in rows:
            counts |= {f"{column} {value or '-'}": str((rows[column] == value).sum()) for value in values}
    ages = rows["age"].dropna().to_numpy() if "age" in rows else np.empty(0)
    if len(ages):
        low, middle, high = np.quantile(ages, [0, 0.5, 1])
        counts["age (median)"] = f"{low:.0f}-{high:.0f} ({middle:.0f})"
    if "may_ship" in rows:
        counts["may ship"] = str(sum(rows["may_ship"]))
    return counts


def _labels(columns: list[dict[str, str]]) -> list[str]:
    labels = dict.fromkeys(label for column in columns for label in column)
    return [label for label in labels if any(column.get(label, "0") != "0" for column in columns)]


def aligned_right(lines: list[list[str]]) -> str:
    """Columns for people: the first of words, the others of figures."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    first, *others = widths
    return "\n".join(
        "  ".join([line[0].ljust(first), *(cell.rjust(width) for cell, width in zip(line[1:], others, strict=True))])
        for line in lines
    )


def aligned_left(lines: list[list[str]]) -> str:
    """Columns of words for people."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    padded = ("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in lines)
    return "\n".join(line.rstrip() for line in padded)


def _top_findings(table: pd.DataFrame, top: int) -> str:
    if "findings" not in table:
        return "none"
    counts = table["findings"].str.split(";").explode().value_counts()
    return ", ".join(f"{name or '(unknown)'} {count}" for name, count in counts.head(top).items())
