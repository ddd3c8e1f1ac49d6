"""A patient over time: treatments change the findings by a stated rule.

An event table has the columns hour, code, value, unit. From hour to hour (Euler steps of one hour) with the state
E edema (g/cm3), P effusion (ml), C consolidation (ml), A atelectasis (ml):

    fluid (ml)         E += 0.06 per 1000 ml, P += 120 per 1000 ml, in the hour it is given
    diuretic (mg)      for 12 h:  E falls by 6 %, P by 2 % an hour for every 40 mg
    antibiotic (g)     from 12 to 72 h after a dose: C falls by 1.5 % an hour; without any, C grows by 0.5 % an hour
    intubation         from then on: A falls by 4 % an hour, and the tube is in place; ended by `extubation`

Doses of the same code add up for diuretics; antibiotics do not. Nodules, masses and the heart's size do not change,
a pneumothorax shrinks by 1.25 % an hour of its own accord (Kircher and Swartzel 1954: 1.25 % of the hemithorax a day,
here fast-forwarded to be seen). What falls below a hundredth of its first drawing limit is gone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from gen.errors import UserError
from gen.phantom.findings import SIZES
from gen.phantom.study import Study

CODES = {"fluid": "ml", "diuretic": "mg", "antibiotic": "g", "intubation": "", "extubation": ""}
LARGEST = {"edema": 0.45, "effusion": 1800.0, "consolidation": 1200.0}
GONE = 0.01


@dataclass(frozen=True)
class Event:
    """Something done to the patient; hour after the first image, value in the unit of its code."""

    hour: float
    code: str
    value: float = 0.0

    @property
    def unit(self) -> str:
        """Unit of the value."""
        return CODES[self.code]


def follow(study: Study, events: Sequence[Event], hour: float) -> Study:
    """The same patient `hour` hours after the first image.

    Errors: UserError for an unknown code, a negative hour or value.
    """
    _check(events, hour)
    sizes = [finding.size for finding in study.findings]
    for now in range(int(hour)):
        sizes = [_next(f.kind, size, events, now) for f, size in zip(study.findings, sizes, strict=True)]
    kept = [replace(finding, size=size) for finding, size in zip(study.findings, sizes, strict=True)]
    findings = tuple(finding for finding in kept if finding.size >= GONE * SIZES[finding.kind][0])
    return replace(study, findings=findings, devices=_devices(study, events, hour))


def change(study: Study, later: Study) -> list[str]:
    """Sentences that compare a study with a later one."""
    after = {finding.name: finding.size for finding in later.findings}
    lines = []
    for finding in study.findings:
        ratio = after.get(finding.name, 0.0) / finding.size
        words = "has resolved" if ratio == 0 else "has decreased" if ratio < 0.85 else "has increased"
        words = "is unchanged" if 0.85 <= ratio <= 1.15 else words
        lines.append(f"The {finding.name.replace('_', ' ')} {words}.")
    return lines


def draw_events(study: Study, last: float) -> list[Event]:
    """Random treatments within the hours up to `last`, with sense: what is found is mostly what is treated."""
    rng = study.patient.rng("events", len(study.findings))
    kinds = {finding.kind for finding in study.findings}
    wanted = {"diuretic": {"edema", "effusion"} & kinds, "antibiotic": {"consolidation"} & kinds}
    wanted |= {"intubation": {"atelectasis", "edema"} & kinds, "fluid": set()}
    amounts = {"diuretic": (20, 40, 80), "antibiotic": (1, 2), "fluid": (500, 1000, 1500), "intubation": (0,)}
    events = []
    for code, reasons in wanted.items():
        if rng.random() < (0.75 if reasons else 0.2) * (0.5 if code == "intubation" else 1):
            count = 1 if code == "intubation" else int(rng.integers(1, 4))
            for hour in np.sort(rng.uniform(0, 0.8 * last, count)):
                events.append(Event(round(float(hour), 1), code, float(rng.choice(amounts[code]))))
    return sorted(events, key=lambda event: event.hour)


def _check(events: Sequence[Event], hour: float) -> None:
    if hour < 0:
        raise UserError(f"hour {hour:g}: hours count from the first image, so from 0 up")
    for event in events:
        if event.code not in CODES:
            raise UserError(f"event code {event.code!r}: one of {', '.join(CODES)}")
        if event.hour < 0 or event.value < 0:
            raise UserError(f"event {event.code} at hour {event.hour:g} with {event.value:g}: both from 0 up")


def _next(kind: str, size: float, events: Sequence[Event], now: float) -> float:
    """Size of a finding one hour on."""
    given = sum(event.value for event in events if event.code == "fluid" and now <= event.hour < now + 1) / 1000
    doses = sum(event.value for event in events if event.code == "diuretic" and 0 <= now - event.hour < 12) / 40
    treated = any(event.code == "antibiotic" and 12 <= now - event.hour < 72 for event in events)
    rates = {
        "edema": (1 - 0.06) ** doses,
        "effusion": (1 - 0.02) ** doses,
        "consolidation": 1 - 0.015 if treated else 1 + 0.005,
        "atelectasis": 1 - 0.04 if _intubated(events, now) else 1.0,
        "pneumothorax": 1 - 0.0125,
    }
    gains = {"edema": 0.06 * given, "effusion": 120 * given}
    return min(size * rates.get(kind, 1.0) + gains.get(kind, 0.0), max(LARGEST.get(kind, np.inf), size))


def _intubated(events: Sequence[Event], now: float) -> bool:
    turns = [event for event in events if event.code in ("intubation", "extubation") and event.hour <= now]
    return bool(turns) and max(turns, key=lambda event: event.hour).code == "intubation"


def _devices(study: Study, events: Sequence[Event], hour: float) -> tuple[str, ...]:
    turned = any(event.code in ("intubation", "extubation") and event.hour <= hour for event in events)
    if not turned:
        return study.devices
    others = tuple(device for device in study.devices if device != "endotracheal_tube")
    return ("endotracheal_tube", *others) if _intubated(events, hour) else others
