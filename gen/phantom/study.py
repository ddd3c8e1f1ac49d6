"""A study: one patient with findings and devices, from one seed, in any view, with the whole truth about it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from gen.data.prompts import prompt_from_row
from gen.data.vocabulary import NO_FINDING
from gen.errors import UserError
from gen.phantom.anatomy import Patient, make_patient
from gen.phantom.body import Body, body_of
from gen.phantom.devices import DEVICES
from gen.phantom.findings import LABELS, SIZES, Finding, draw_finding
from gen.phantom.geometry import VIEW_ANGLES
from gen.phantom.sentences import report
from gen.phantom.shot import Shot, take
from gen.phantom.technique import technique

FREQUENCIES = {  # share of studies that show a finding
    "effusion": 0.16,
    "consolidation": 0.14,
    "atelectasis": 0.10,
    "pneumothorax": 0.07,
    "edema": 0.10,
    "nodule": 0.09,
    "mass": 0.05,
    "cardiomegaly": 0.14,
}
DEVICE_FREQUENCIES = {
    "endotracheal_tube": 0.06,
    "central_line": 0.10,
    "sternal_wires": 0.05,
    "pacemaker": 0.05,
    "sponge": 0.01,
    "needle": 0.01,
}
FOREIGN = ("sponge", "needle")  # left behind, so no support devices
RAISED = 14.0  # mm that a dome rises above a collapsed lobe


@dataclass(frozen=True)
class Study:
    """What is in one patient at one time."""

    seed: int
    patient: Patient
    findings: tuple[Finding, ...] = ()
    devices: tuple[str, ...] = ()

    @cached_property
    def body(self) -> Body:
        """The patient's shapes, with a heart as large and domes as high as the findings make them."""
        patient = self.patient
        for finding in self.findings:
            if finding.kind == "cardiomegaly":
                patient = patient.with_heart(finding.size)
            if finding.kind == "atelectasis" and not finding.lobe.endswith(("upper", "middle")):
                lift = (RAISED, 0.0) if finding.lung == "lung_right" else (0.0, RAISED)
                patient = replace(patient, domes=(patient.domes[0] + lift[0], patient.domes[1] + lift[1]))
        return body_of(patient)

    def shoot(self, view: str = "PA", size: int = 256, *, angle: float | None = None, noise: bool = True) -> Shot:
        """Take one radiograph; `angle` in degrees replaces the view's own, 0 PA, 90 left lateral, 180 AP.

        Errors: UserError for another view or a size that is no multiple of 8 from 32 up.
        """
        if view not in VIEW_ANGLES:
            raise UserError(f"view {view!r}: one of {', '.join(VIEW_ANGLES)}")
        if size % 8 or size < 32:
            raise UserError(f"size {size}: a multiple of 8, from 32 up")
        return take(
            self.body, self.findings, self.devices, technique(self.patient, self.seed, view, size, angle), noise
        )

    @property
    def labels(self) -> list[str]:
        """Labels of gen.data.vocabulary."""
        labels = sorted({LABELS[finding.kind] for finding in self.findings if finding.size > 0})
        if set(self.devices) - set(FOREIGN):
            labels.append("Support Devices")
        return labels or [NO_FINDING]

    @property
    def report(self) -> str:
        """Findings and impression in sentences."""
        return report(self.findings, self.devices, self.patient)

    def row(self, view: str) -> dict:
        """The index columns that follow from the study."""
        patient = self.patient
        return {
            "view": view,
            "sex": patient.sex,
            "age": patient.age,
            "age_group": "child" if patient.age < 13 else "adult",
            "findings": ";".join(self.labels),
            "report": self.report,
        }

    def prompt(self, view: str) -> str:
        """The study in one canonical prompt."""
        return prompt_from_row(self.row(view))


def make_study(
    seed: int,
    sex: str | None = None,
    age: float | None = None,
    findings: Sequence[str] | None = None,
    devices: Sequence[str] | None = None,
    frequencies: Mapping[str, float] | None = None,
) -> Study:
    """Draw a study from a seed; kinds of findings and devices may be given (an empty list: none).

    frequencies: shares of studies that show a kind of finding, in place of FREQUENCIES' own.

    Errors: UserError for an unknown kind.
    """
    patient = make_patient(seed, sex, age)
    rng = patient.rng("study")
    drawn, drawn_devices = _drawn(rng, {**FREQUENCIES, **(frequencies or {})}), _drawn(rng, DEVICE_FREQUENCIES)
    kinds = drawn if findings is None else _known(findings, SIZES, "finding")
    devices = drawn_devices if devices is None else _known(devices, DEVICES, "device")
    bare = body_of(patient)
    placed = tuple(draw_finding(bare, kind, patient.rng("finding", kind)) for kind in kinds)
    return Study(seed, patient, placed, tuple(devices))


def _drawn(rng: np.random.Generator, frequencies: dict[str, float]) -> list[str]:
    return [kind for kind, share in frequencies.items() if rng.random() < share]


def _known(kinds: Sequence[str], known: dict, what: str) -> list[str]:
    for kind in kinds:
        if kind not in known:
            raise UserError(f"{what} {kind!r}: one of {', '.join(known)}")
    return list(dict.fromkeys(kinds))
