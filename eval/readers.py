"""The evaluators that read labels off images: the shipped reader, a classifier of one's own, torchxrayvision."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gen.data.vocabulary import normalise_findings
from gen.errors import UserError
from gen.judges.reader import Reader, Reading

from .readings import Judge

SHIPPED = "reader"
XRV = "xrv"
XRV_DEFAULT = "densenet121-res224-all"
XRV_SIDE = 224  # pixels
XRV_RANGE = 1024.0  # it was trained on -1024..1024; fed otherwise, it says the same of every image


class XrvReader:
    """A torchxrayvision classifier behind a reader's door; it knows findings only.

    Its outputs are moved so that 0.5 is its operating point: good for ranking, no probabilities.
    """

    views: tuple[str, ...] = ()

    def __init__(self, model: nn.Module) -> None:
        self.model = model.eval()
        known = [normalise_findings(name) for name in model.pathologies]
        self.columns = [column for column, name in enumerate(known) if name]
        self.labels: tuple[str, ...] = tuple(known[column][0] for column in self.columns)

    @classmethod
    def load(cls, weights: str = XRV_DEFAULT) -> XrvReader:
        """By the package's name of its weights. Errors: UserError where package or weights are not to be had."""
        from .outside import asked_for

        with asked_for("torchxrayvision", "'cxr-gen[eval]'", f"--reader xrv:{weights}"):
            import torchxrayvision as package

            return cls(package.models.DenseNet(weights=weights))

    @torch.inference_mode()
    def read(self, images: Tensor) -> Reading:
        """Read radiographs. Shapes: [B, 1, H, W] in [-1, 1]."""
        fed = F.interpolate(images, (XRV_SIDE, XRV_SIDE), mode="bilinear", antialias=True) * XRV_RANGE
        unknown = torch.full((len(images),), torch.nan)
        return Reading(
            findings=self.model(fed)[:, self.columns],
            view=torch.empty(len(images), 0),
            sex_female=unknown,
            child=unknown,
            age=unknown,
            features=self.model.features2(fed),
        )


def load_reader(name: str) -> tuple[str, Judge]:
    """A reader and what to call it: "reader" (shipped), "xrv" or "xrv:WEIGHTS", or a classifier's folder.

    Errors: UserError for anything else, and for weights that are not to be had.
    """
    if name == SHIPPED:
        return "the shipped reader", Reader.load()
    kind, _, where = name.partition(":")
    if kind == XRV:
        return f"torchxrayvision {where or XRV_DEFAULT}", XrvReader.load(where or XRV_DEFAULT)
    folder = Path(where if kind == SHIPPED else name)
    if not folder.is_dir():
        raise UserError(f"--reader {name}: neither {SHIPPED}, {XRV} nor a folder of train/classifier.py")
    return folder.name, Reader.load(folder)
