"""A study's findings and devices in the sentences of a report."""

from __future__ import annotations

from collections.abc import Sequence

from gen.phantom.anatomy import Patient
from gen.phantom.findings import SIZES, UNITS, Finding

WORDS = ("small", "moderate", "large")
SENTENCES = {
    "effusion": "There is a {size} {side} pleural effusion.",
    "consolidation": "There is a {size} area of consolidation in the {side} {zone} zone.",
    "atelectasis": "There is {side} lower lobe atelectasis with a raised hemidiaphragm.",
    "pneumothorax": "There is a {size} {side} pneumothorax.",
    "edema": "There is {grade} pulmonary edema.",
    "nodule": "There is a {mm:.0f} mm nodule in the {side} {zone} zone.",
    "mass": "There is a {mm:.0f} mm mass in the {side} {zone} zone.",
    "cardiomegaly": "The heart is enlarged.",
}
DEVICE_SENTENCES = {
    "endotracheal_tube": "An endotracheal tube ends above the carina.",
    "central_line": "A right central venous line ends in the superior vena cava.",
    "sternal_wires": "There are sternotomy wires.",
    "pacemaker": "A left pacemaker has its lead in the right ventricle.",
    "sponge": "The marker of a retained surgical sponge is seen.",
    "needle": "A retained surgical needle is seen.",
}
ABSENT = {"effusion": "pleural effusion", "pneumothorax": "pneumothorax", "consolidation": "consolidation"}
NORMAL = "The lungs are clear. The heart is of normal size. No pleural effusion or pneumothorax."


def report(findings: Sequence[Finding], devices: Sequence[str], patient: Patient) -> str:
    """Findings and impression, as two sections."""
    present = [finding for finding in findings if finding.size > 0]
    lines = [sentence(finding, patient) for finding in present]
    kinds = {finding.kind for finding in present}
    absent = [words for kind, words in ABSENT.items() if kind not in kinds]
    closing = [f"No {' or '.join(absent)}."] if absent else []
    body = [*lines, *closing] if lines else [NORMAL]
    body += [DEVICE_SENTENCES[kind] for kind in devices]
    return f"FINDINGS: {' '.join(body)} IMPRESSION: {' '.join(lines) or 'No acute cardiopulmonary abnormality.'}"


def sentence(finding: Finding, patient: Patient) -> str:
    """One finding with its size, side and zone."""
    low, high = SIZES[finding.kind]
    grown = patient.grown**3 if UNITS[finding.kind] == "ml" else 1.0
    share = (finding.size / grown - low) / (high - low)
    step = 0 if share < 0.25 else 1 if share < 0.6 else 2
    return SENTENCES[finding.kind].format(
        size=WORDS[step],
        grade=("mild", "moderate", "severe")[step],
        side=finding.lung.removeprefix("lung_"),
        zone=_zone(finding.place[2] / patient.stretch[2]),
        mm=finding.size,
    )


def _zone(height: float) -> str:
    return "upper" if height > 50 else "mid" if height > -25 else "lower"
