"""One radiograph with its truth: bone and soft-tissue images on the same grid, and masks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from gen.phantom.body import Body
from gen.phantom.devices import DEVICES, device_mass
from gen.phantom.display import optical, processed, shown, window
from gen.phantom.findings import Finding
from gen.phantom.geometry import Geometry
from gen.phantom.lobes import LOBES
from gen.phantom.physics import detected, noisy, transmission
from gen.phantom.projection import Maps, project
from gen.phantom.regions import LESION, fill, haze, lesion, pleura, vessels
from gen.phantom.solids import chords
from gen.phantom.technique import Technique
from gen.phantom.tubes import chain, joined, paths

BONES = ("ribs", "clavicles", "scapulae", "spine", "sternum", "humeri")
LOBE_NAMES = tuple(lobe for lobes in LOBES.values() for lobe in lobes)
ORGANS = (*LOBES, *LOBE_NAMES, "heart", "aorta", "trachea", "vessels", *BONES)
LEAST, THIN, LOBE = 1.0, 0.33, 0.8  # mm of path that a mask needs; of bones and devices; of lobes, which hold findings
LETTER = ((0, -1), (0, 1), (1, 1))  # an L, in half-heights
MARKER = 8.5  # half-height, mm


@dataclass(frozen=True)
class Shot:
    """One image. image, soft, bone: grey levels 0..1; attenuation: -log of the detector's signal, and its soft and bone
    parts, which add up to it exactly up to rounding; masks by organ, finding and device.

    Shapes: [size, size]; float32, masks bool.
    """

    image: np.ndarray
    soft: np.ndarray
    bone: np.ndarray
    attenuation: np.ndarray
    soft_attenuation: np.ndarray
    bone_attenuation: np.ndarray
    masks: dict[str, np.ndarray]
    technique: Technique


def take(
    body: Body, findings: Sequence[Finding], devices: Sequence[str], technique: Technique, noise: bool = True
) -> Shot:
    """Project, expose and show one patient.

    Without its bones the patient has soft tissue in the place of the mineral. The soft image keeps the radiograph's
    own noise: it is the radiograph less the exact share of the bones.
    """
    maps = scene(body, findings, devices, technique)
    bare = maps.masses | {"soft": maps.masses["soft"] + maps.displaced}
    del bare["bone"]
    how, pixel = technique.exposure, technique.geometry.pixel
    with_bone = detected(_primary(maps.masses, technique), how, pixel)
    bone = optical(with_bone) - optical(detected(_primary(bare, technique), how, pixel))
    rng = np.random.default_rng(technique.seed)
    whole = optical(noisy(with_bone, how, pixel, rng) if noise else with_bone)
    return _developed(maps, whole, bone, technique)


def scene(body: Body, findings: Sequence[Finding], devices: Sequence[str], technique: Technique) -> Maps:
    """Masses and paths of a patient with findings and devices."""
    geometry = technique.geometry
    edema = sum(finding.size for finding in findings if finding.kind == "edema")
    fills = [fill(body, f, technique.view == "AP SUPINE") for f in findings if f.lung and f.size > 0 and _fills(f)]
    fills += [pleura(air) for air in fills if air.name.startswith("pneumothorax")]
    maps = project(body, geometry, fills, haze(body, findings), vessels(body, findings))
    for finding in findings:
        if finding.kind in ("nodule", "mass"):
            path = np.minimum(chords(geometry, lesion(body, finding)), maps.organs[finding.lobe or finding.lung])
            maps.masses["lung"] = maps.masses["lung"] + path * np.float32((LESION - body.patient.lung) / 10)
            maps.organs[finding.name] = path
    _add_devices(body, devices, technique, maps)
    if edema:
        lungs = maps.organs["lung_right"] + maps.organs["lung_left"]
        maps.organs["edema"] = lungs
    return maps


def _fills(finding: Finding) -> bool:
    return finding.kind not in ("nodule", "mass")


def _add_devices(body: Body, devices: Sequence[str], technique: Technique, maps: Maps) -> None:
    metal = np.zeros_like(maps.displaced)
    for kind in devices:
        mass, maps.organs[kind] = device_mass(body, technique.geometry, kind)
        metal = metal + mass
    if technique.marker is not None:
        metal = metal + _letter(technique.geometry, technique.marker)
    maps.masses["metal"] = metal


def _letter(geometry: Geometry, place: tuple[float, float]) -> np.ndarray:
    """A lead L on the detector at the patient's left, g/cm2 of iron."""
    beam, across, down = geometry.axes
    centre = np.array(geometry.aim) + beam * geometry.detector
    strokes = [
        centre
        + across * ((place[0] - 0.5) * geometry.field + x * MARKER * 0.9)
        + down * ((place[1] - 0.5) * geometry.field + y * MARKER)
        for x, y in LETTER
    ]
    parts = [chain(np.array(pair), 1.7) for pair in pairwise(strokes)]
    return paths(geometry, joined(parts)) * np.float32(1.2)


def _primary(masses: dict[str, np.ndarray], technique: Technique) -> np.ndarray:
    """What passes the patient, under a beam that is stronger on one side (the tube's heel effect)."""
    primary = transmission(masses, technique.exposure)
    place = np.linspace(-1, 1, primary.shape[0], dtype=np.float32)
    across, down = technique.heel
    return primary * (1 + np.float32(across) * place + np.float32(down) * place[:, None])


def _developed(maps: Maps, whole: np.ndarray, bone: np.ndarray, technique: Technique) -> Shot:
    display = technique.display
    image, bones = processed(whole, display), processed(bone, display)
    limits = window(image, maps.organs["body"] > 20, display)
    bone_limits = (0.0, max(float(np.quantile(bones[::2, ::2], 0.995)), 1e-3))
    pictures = [
        shown(image, limits, display),
        shown(image - bones, limits, display),
        np.clip(bones / bone_limits[1], 0, 1).astype(np.float32),
    ]
    pictures = [_shuttered(picture, technique.shutter) for picture in pictures]
    return Shot(*pictures, whole, whole - bone, bone, _masks(maps), technique)


def _masks(maps: Maps) -> dict[str, np.ndarray]:
    """Where each organ, finding and device lies along the ray; a lung is the union of its lobes."""
    least = dict.fromkeys(LOBE_NAMES, LOBE) | dict.fromkeys((*BONES, *DEVICES), THIN)
    masks = {
        name: path > np.float32(least.get(name, LEAST))
        for name, path in maps.organs.items()
        if name not in ("body", *LOBES) and not name.startswith("_")
    }
    return {lung: np.any([masks[lobe] for lobe in lobes], axis=0) for lung, lobes in LOBES.items()} | masks


def _shuttered(image: np.ndarray, shutter: tuple[int, int, int, int]) -> np.ndarray:
    """Black where the collimator's edges are covered on the screen."""
    top, bottom, left, right = shutter
    height, width = image.shape
    framed = np.zeros_like(image)
    inner = (slice(top, height - bottom), slice(left, width - right))
    framed[inner] = image[inner]
    return framed
