"""The shipped reader: what a radiograph shows, by a small multi-task network.

Its figures on held-out radiographs stand in its folder's README.md. They compare images with images by one yardstick;
they are not comparable with published AUROCs or Frechet distances, and no diagnosis.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

import torch
from torch import Tensor

from gen.judges.loading import WEIGHTS, load_network, network_fingerprint
from gen.judges.preparation import checked
from gen.models.classifier import RadiographClassifier

SHIPPED_READER = WEIGHTS / "reader"
SHIPPED_VIEW_READER = WEIGHTS / "view_reader"  # the reader itself takes most laterals for frontal views
BATCH = 64  # images a call: the memory stays bounded however many are given


@dataclass(frozen=True)
class Reading:
    """What the network makes of B images.

    findings: probabilities [B, K]. view: probabilities [B, V]. sex_female, child: probabilities [B]; a child is under
    13. age: years [B]. features: [B, D].
    """

    findings: Tensor
    view: Tensor
    sex_female: Tensor
    child: Tensor
    age: Tensor
    features: Tensor


class Reader:
    """A classifier with its preprocessing; `labels` and `views` name the columns of a Reading."""

    def __init__(self, classifier: RadiographClassifier, fingerprint: str = "untrained") -> None:
        self.classifier = classifier.eval().to(memory_format=torch.channels_last)  # a fifth faster on a CPU
        self.labels: tuple[str, ...] = tuple(classifier.config.labels)
        self.views: tuple[str, ...] = tuple(classifier.config.views)
        self.fingerprint = fingerprint
        self.viewer: Reader | None = None

    @classmethod
    def load(cls, folder: str | Path | None = None) -> Reader:
        """From a folder of train/classifier.py; None takes the shipped one, its view told by the shipped view reader.

        Errors: UserError for a folder without a usable classifier.
        """
        if folder is None:
            return cls.load(SHIPPED_READER).seeing_by(cls.load(SHIPPED_VIEW_READER))
        folder = Path(folder)
        return cls(load_network(RadiographClassifier, folder), network_fingerprint(folder))

    def seeing_by(self, viewer: Reader) -> Reader:
        """This reader, but for the view, which another one tells."""
        both = Reader(self.classifier, f"{self.fingerprint}-{viewer.fingerprint}")
        both.viewer, both.views = viewer, viewer.views
        return both

    @property
    def width(self) -> int:
        """Length of a feature vector."""
        return self.classifier.config.features

    def to(self, device: str | torch.device) -> Reader:
        """Move the network; images may be anywhere."""
        self.classifier.to(device)
        if self.viewer is not None:
            self.viewer.to(device)
        return self

    @torch.inference_mode()
    def read(self, images: Tensor) -> Reading:
        """Read radiographs. Shapes: [B, 1, H, W] in [-1, 1], any size -> tensors on the CPU.

        Errors: ValueError for another shape or range.
        """
        parts = [self._read(part) for part in images.split(BATCH)] if len(images) else [self._read(images)]
        names = [field.name for field in fields(Reading)]
        return Reading(**{name: torch.cat([getattr(part, name) for part in parts]) for name in names})

    def _read(self, images: Tensor) -> Reading:
        out = self.classifier(checked(images).to(self.classifier.device))
        view = out.view.softmax(1).cpu() if self.viewer is None else self.viewer._read(images).view
        return Reading(
            findings=out.findings.sigmoid().cpu(),
            view=view,
            sex_female=out.sex.sigmoid().cpu(),
            child=out.child.sigmoid().cpu(),
            age=out.age.clamp(0, 110).cpu(),
            features=out.features.cpu(),
        )
