"""What one planned image is to show, before it has a prompt, an id and a seed."""

from __future__ import annotations

import random
from typing import Literal, NamedTuple

from gen.data.compose import compose_prompt
from gen.data.prompts import prompt_from_row

Wording = Literal["plain", "templates", "reports"]
OWN_WORDS = (", free words", ", report")  # how a source ends whose prompt says more than its condition


class Condition(NamedTuple):
    """View, sex, age and findings, and the words or the report that they come with."""

    view: str = ""
    sex: str = ""
    age: float | None = None  # years
    findings: str = ""
    source: str = ""
    prompt: str = ""  # free words
    report: str = ""  # of the training radiograph that the condition was taken from

    def words(self, wording: Wording, rng: random.Random | None) -> str:
        """The prompt: free words where there are some, else the report's, or a sentence that says the condition."""
        if self.prompt:
            return compose_prompt(self.prompt, self.view or None, self.sex or None, self.age)
        row = {"view": self.view, "sex": self.sex, "age": self.age, "findings": self.findings, "report": self.report}
        if wording == "plain":
            return prompt_from_row(row)
        share = 1.0 if wording == "reports" else 0.0
        return prompt_from_row(row, rng, drop_view=0, drop_sex=0, drop_age=0, drop_findings=0, use_report=share)

    def origin(self, wording: Wording) -> str:
        """Where the row of a plan comes from, and whether its prompt is more than a template."""
        free, report = OWN_WORDS
        reported = wording == "reports" and self.report
        return self.source + (free if self.prompt else report if reported else "")
