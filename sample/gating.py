"""Which gates a set has to pass, from the words of the command line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gen.errors import UserError

if TYPE_CHECKING:
    from .gates import Gate

CALIBRATE = "make some with cxr-sample calibrate --index INDEX --out gates.yaml, and name it with --thresholds"
NAMES = ("look", "sanity", "view", "demographics", "labels", "memory", "memory-pixels", "duplicates")


@dataclass(frozen=True)
class Gating:
    """The gates by name and what they need: a YAML of thresholds, the index that the model was trained on."""

    names: tuple[str, ...] = ()
    thresholds: Path | None = None
    train_index: Path | None = None

    def __post_init__(self) -> None:
        for name in self.names:
            if name not in NAMES:
                raise UserError(f"--gates {name}: choose from {', '.join(NAMES)}")
        if self.train_index is None and {"memory", "memory-pixels"} & set(self.names):
            raise UserError("--gates memory: name the index that the model was trained on with --train-index")

    def load(self, device: str = "cpu") -> Sequence[Gate]:
        """The gates, with the networks that they share.

        Errors: UserError where a network, the index or the thresholds cannot be had.
        """
        from gen.judges.lungs import LungSegmenter
        from gen.judges.reader import Reader

        from .gates import READING_GATES, LookGate, Readings
        from .memory import memory_gate
        from .thresholds import read_thresholds

        limits = read_thresholds(self.thresholds)
        if "labels" in self.names and not limits.labels:
            raise UserError(f"--gates labels: no threshold of any finding is known; {CALIBRATE}")
        reads = any(name in READING_GATES or name == "memory" for name in self.names)
        readings = Readings(Reader.load().to(device)) if reads else None
        gates: list[Gate] = []
        for name in self.names:
            if name == "duplicates":
                continue  # of whole sets: sample/duplicates.py
            if name in READING_GATES and readings is not None:
                gates.append(READING_GATES[name](readings, limits))
            elif name in ("look", "sanity"):
                gates.append(LookGate(LungSegmenter.load().to(device) if name == "sanity" else None))
            else:
                reader = readings.reader if name == "memory" and readings is not None else None
                gates.append(memory_gate(name, Path(str(self.train_index)), reader, limits.false_alarms))
        return gates


def parse_gating(names: str, thresholds: Path | None, train_index: Path | None) -> Gating:
    """A Gating from `--gates a,b`; no names, no gates."""
    listed = tuple(dict.fromkeys(name.strip() for name in names.split(",") if name.strip()))
    paths = (None if path is None else path.absolute() for path in (thresholds, train_index))
    return Gating(listed, *paths)
