"""A study's findings and devices in the sentences of a report."""

from __future__ import annotations

from collections.abc import Sequence

from gen.phantom.anatomy import Patient
from gen.phantom.findings import SIZES, UNITS, Finding

WORDS = ("small", "moderate", "large")
SENTENCES = {
    "effusion": "There is a {size} {side} pleural effusion.",
    "consolidation": "There is a {size} area of consolidation in the {where}.",
    "atelectasis": "There is {where} atelectasis{raised}.",
    "pneumothorax": "There is a {size} {side} pneumothorax.",
    "edema": "There is {grade} pulmonary edema.",
    "nodule": "There is a {mm:.0f} mm nodule in the {where}.",
    "mass": "There is a {mm:.0f} mm mass in the {where}.",
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
    """One finding with its size, side and lobe."""
    low, high = SIZES[finding.kind]
    grown = patient.grown**3 if UNITS[finding.kind] == "ml" else 1.0
    share = (finding.size / grown - low) / (high - low)
    step = 0 if share < 0.25 else 1 if share < 0.6 else 2
    return SENTENCES[finding.kind].format(
        size=WORDS[step],
        grade=("mild", "moderate", "severe")[step],
        side=finding.lung.removeprefix("lung_"),
        where=_where(finding, patient),
        raised="" if finding.lobe.endswith(("upper", "middle")) else " with a raised hemidiaphragm",
        mm=finding.size,
    )


def _where(finding: Finding, patient: Patient) -> str:
    """The lobe, or the zone of a lung for a finding that keeps to no lobe."""
    if finding.lobe:
        return f"{finding.lobe.replace('_', ' ')} lobe"
    side, zone = finding.lung.removeprefix("lung_"), _zone(finding.place[2] / patient.stretch[2])
    return f"{side} {zone} zone" if finding.kind != "atelectasis" else f"{side} lower lobe"


def _zone(height: float) -> str:
    return "upper" if height > 50 else "mid" if height > -25 else "lower"
