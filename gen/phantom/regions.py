"""Where in the chest findings lie, and what they weigh.

A finding's region is a signed field in space, cut where it holds the volume that was asked for: the points of its lung
or lobe are ordered by the field (for an effusion: lowest first) and as many as make up the volume belong to it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from gen.phantom.body import GROUND_VOLUME, Body
from gen.phantom.findings import FULLEST, Finding
from gen.phantom.geometry import Slab
from gen.phantom.integration import Fill
from gen.phantom.lobes import SIDES
from gen.phantom.lung_vessels import HILA
from gen.phantom.solids import Solid
from gen.phantom.texture import Waves
from gen.phantom.tubes import Tubes

DENSITIES = {"effusion": 1.02, "consolidation": 0.80, "atelectasis": 0.90, "pneumothorax": 0.0012}  # g/cm3
LESION = 1.04  # g/cm3 of nodules and masses
PLEURA = 2.0  # mm
# a collapsing lobe's last part: weights of outwards, backwards and upwards, smallest sum first
COLLAPSE = {
    "": (0.9, -0.5, 0.42),
    "right_lower": (0.9, -0.5, 0.42),
    "left_lower": (0.9, -0.5, 0.42),
    "right_middle": (1.0, 0.1, -0.25),
    "right_upper": (0.8, 0.15, -0.75),
    "left_upper": (0.8, 0.55, -0.45),
}


def fill(body: Body, finding: Finding, supine: bool = False) -> Fill:
    """The part of a lung or lobe that a finding takes, with its density; a supine patient's fluid lies at the back."""
    order = _orders(supine)[finding.kind](body, finding)
    threshold = _threshold(body, finding, order)

    def region(slab: Slab) -> np.ndarray:
        return (order(slab) - np.float32(threshold)).astype(np.float32)

    return Fill(finding.name, finding.lobe or finding.lung, region, DENSITIES[finding.kind])


def pleura(air: Fill) -> Fill:
    """The lung's own surface, a thin line beside a pneumothorax."""
    return Fill(f"_{air.name}", air.place, air.region, LESION, PLEURA / 2)


def lesion(body: Body, finding: Finding) -> list[Solid]:
    """A nodule or mass as a lobed cluster of ellipsoids of its diameter."""
    rng = np.random.default_rng(finding.seed)
    radius = finding.size / 2
    lobes = rng.normal(size=(5, 3))
    lobes *= 0.42 * radius / np.linalg.norm(lobes, axis=1, keepdims=True)
    radii = rng.uniform(0.5, 0.68, 5) * radius
    core = Solid.along_axes(finding.place, radius * rng.uniform(0.8, 1.0, 3))
    return [
        core,
        *(Solid.along_axes(np.array(finding.place) + lobe, [r] * 3) for lobe, r in zip(lobes, radii, strict=True)),
    ]


def haze(body: Body, findings: Sequence[Finding]) -> Callable[[Slab], np.ndarray] | None:
    """Density that findings add to the lungs outside of their regions, g/cm3; None without any."""
    parts = [_edema(body, finding.size) for finding in findings if finding.kind == "edema" and finding.size > 0]
    parts += [_collapsed(body, finding) for finding in findings if finding.kind == "pneumothorax" and finding.size > 0]
    return (lambda slab: sum(part(slab) for part in parts)) if parts else None


def vessels(body: Body, findings: Sequence[Finding]) -> Tubes:
    """The lungs' vessels, wide in oedema, drawn towards the hilum beside a pneumothorax."""
    tubes = body.vessels
    for finding in findings:
        if finding.kind == "edema":
            tubes = tubes.wider(1 + 0.9 * finding.size)
        elif finding.kind == "pneumothorax":
            tubes = _drawn_in(body, finding, tubes)
    return tubes


def remaining(body: Body, finding: Finding) -> float:
    """Share of a lung's volume that a finding leaves."""
    whole = len(body.grounds[finding.lung]) * GROUND_VOLUME
    return max(1 - finding.size / whole, 1 - FULLEST)


def _edema(body: Body, severity: float) -> Callable[[Slab], np.ndarray]:
    """Strongest about the hila and towards the bases, in patches."""
    waves = Waves.drawn(body.patient.rng("edema"), 40, (9.0, 60.0))
    scale = body.thorax.scale.astype(np.float32)

    def density(slab: Slab) -> np.ndarray:
        near = [np.array(place, np.float32) * scale for place in HILA.values()]
        square = [
            ((slab.x - x) / 62) ** 2 + ((slab.y - y) / 75) ** 2 + ((slab.z - z + 25) / 85) ** 2 for x, y, z in near
        ]
        bat_wing = np.exp(-np.minimum(*square) / scale[0] ** 2)
        return np.float32(severity) * (0.25 + bat_wing) * np.maximum(1 + 0.55 * waves(slab), 0.1)

    return density


def _collapsed(body: Body, finding: Finding) -> Callable[[Slab], np.ndarray]:
    """The lung beside a pneumothorax keeps its mass in less room."""
    extra = np.float32(body.patient.lung * (1 / remaining(body, finding) - 1))
    side = SIDES[finding.lung]
    return lambda slab: extra * (side * slab.x > 0)


def _drawn_in(body: Body, finding: Finding, tubes: Tubes) -> Tubes:
    factor = remaining(body, finding) ** 0.6  # more than its cube root: what stays lies about the hilum
    hilum = np.array(HILA[finding.lung]) * body.thorax.scale
    own = (SIDES[finding.lung] * tubes.start[:, :1] > 0).astype(float)
    shrink = 1 - own * (1 - factor)
    start, end = (hilum * (1 - shrink) + points * shrink for points in (tubes.start, tubes.end))
    return replace(tubes, start=start, end=end)


def _orders(supine: bool) -> dict[str, Callable]:
    return {
        "effusion": _behind if supine else _lowest,
        "consolidation": _about,
        "atelectasis": _collapse,
        "pneumothorax": _rim,
    }


def _lowest(body: Body, finding: Finding) -> Callable[[Slab], np.ndarray]:
    """Height, less where fluid climbs along the wall as a meniscus, little towards the middle."""
    side, axis = SIDES[finding.lung], body.thorax.lung_axis

    def order(slab: Slab) -> np.ndarray:
        wall = _wall(body, finding, slab)
        climb = np.interp(side * slab.x, (0.5 * axis, 1.5 * axis), (14, 46)).astype(np.float32)
        return slab.z - climb * np.exp(-wall / 13).astype(np.float32)

    return order


def _behind(body: Body, finding: Finding) -> Callable[[Slab], np.ndarray]:
    def order(slab: Slab) -> np.ndarray:
        return -slab.y + np.float32(0.25) * slab.z + np.zeros(_shape(slab), np.float32)

    return order


def _about(body: Body, finding: Finding) -> Callable[[Slab], np.ndarray]:
    """Distance from its middle, made ragged by a random field."""
    waves = Waves.drawn(np.random.default_rng(finding.seed), 40, (12.0, 60.0))
    x, y, z = np.array(finding.place, dtype=np.float32)

    def order(slab: Slab) -> np.ndarray:
        distance = np.sqrt((slab.x - x) ** 2 + (slab.y - y) ** 2 + (1.2 * (slab.z - z)) ** 2)
        return distance + np.float32(11) * waves(slab)

    return order


def _collapse(body: Body, finding: Finding) -> Callable[[Slab], np.ndarray]:
    """What is left of a collapsed lobe: a lower one a wedge between spine, diaphragm and back, the others at the hilum,
    above it and before it."""
    kx, ky, kz = body.thorax.scale.astype(np.float32)
    out, back, up = COLLAPSE[finding.lobe]

    def order(slab: Slab) -> np.ndarray:
        return out * SIDES[finding.lung] * slab.x / kx + back * slab.y / ky + up * slab.z / kz

    return order


def _rim(body: Body, finding: Finding) -> Callable[[Slab], np.ndarray]:
    """Distance from the chest wall, air first at the apex."""
    kz = np.float32(body.thorax.scale[2])

    def order(slab: Slab) -> np.ndarray:
        return _wall(body, finding, slab) - np.float32(0.30) * slab.z / kz

    return order


def _wall(body: Body, finding: Finding, slab: Slab) -> np.ndarray:
    """Depth below the rib cage, mm, 0 outside."""
    return np.maximum(-body.thorax.cage(slab, SIDES[finding.lung], body.thorax.section(slab.z)), 0)


def _threshold(body: Body, finding: Finding, order: Callable) -> float:
    """The value below which the points of lung or lobe hold the finding's volume."""
    points = body.region_points(finding.lung, finding.lobe)
    values = np.sort(order(Slab(points[:, 0], points[:, 1], points[:, 2], 0.0)))
    count = finding.size / GROUND_VOLUME
    return float(np.interp(min(count, FULLEST * len(values)), np.arange(len(values)), values))


def _shape(slab: Slab) -> tuple[int, ...]:
    return np.broadcast_shapes(slab.x.shape, slab.z.shape)
