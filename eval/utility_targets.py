"""What a downstream network learns, and how it is judged: labels, masks of structures, or boxes of findings.

Only what differs between them is here; settings, runs, intervals and tables exist once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import ClassVar, Protocol

import numpy as np
import pandas as pd
from diffusers import ModelMixin

from gen.data.segmented import Structures, masks_by_image, read_masks
from gen.engine.learner import Learner
from gen.engine.segmentation import phantom_masks, phantom_parts
from gen.errors import UserError
from gen.schema import TrainConfig

from . import detections, labels, utility_maps, utility_runs
from .boxes import Boxes, box_counts, box_truth, drawn_boxes, labelled_where_drawn
from .readings import judged_labels, truth_matrix
from .section import Better
from .utility_plan import Goal, UtilityConfig

Figures = dict[str, tuple[Callable, Better]]  # the first is what verdicts and gains are told of


class Target(Protocol):
    """One kind of truth. `index` is the table that rows come from: masks and boxes lie beside it.

    Shapes: truth [N, K, ...] of K names, what the figures take [N, K, ...].
    """

    figures: ClassVar[Figures]
    name: ClassVar[str]  # of one of its names
    counted: ClassVar[str]  # what `counts` counts

    def usable(self, rows: pd.DataFrame, index: Path) -> np.ndarray: ...  # of which anything is known, [N] bool
    def vocabulary(self, rows: pd.DataFrame, index: Path) -> list[str]: ...  # names that rows can be asked for
    def truth(self, rows: pd.DataFrame, index: Path, names: Sequence[str]) -> np.ndarray: ...
    def counts(self, truth: np.ndarray) -> np.ndarray: ...  # how often an image shows each name, [N, K]
    def judged(self, truth: np.ndarray, names: Sequence[str], least: int) -> list[str]: ...  # often enough
    def new_network(self, config: UtilityConfig, names: tuple[str, ...], seed: int) -> ModelMixin: ...
    def learner(self, network: ModelMixin, pixels: np.ndarray, truth: np.ndarray, train: TrainConfig) -> Learner: ...
    def scores(self, network: ModelMixin, pixels: np.ndarray, truth: np.ndarray, columns: list[int]) -> np.ndarray: ...


class Labels:
    """Findings of the whole image, by a classifier. Shapes: truth [N, K] bool, scores [N, K] probabilities."""

    figures: ClassVar[Figures] = {
        "macro AUROC": (labels.auroc, "high"),
        "macro AUPRC": (labels.average_precision, "high"),
        "macro ECE": (labels.calibration_error, "low"),
    }
    name, counted = "label", "positive"
    new_network = staticmethod(utility_runs.new_network)
    learner = staticmethod(utility_runs.learner_of)

    def usable(self, rows: pd.DataFrame, index: Path) -> np.ndarray:
        return (rows["findings"] != "").to_numpy()

    def vocabulary(self, rows: pd.DataFrame, index: Path) -> list[str]:
        return list(dict.fromkeys(name for text in rows["findings"] for name in text.split(";")))

    def truth(self, rows: pd.DataFrame, index: Path, names: Sequence[str]) -> np.ndarray:
        return truth_matrix(rows["findings"], names)

    def counts(self, truth: np.ndarray) -> np.ndarray:
        return truth

    def judged(self, truth: np.ndarray, names: Sequence[str], least: int) -> list[str]:
        return judged_labels(truth, names, least)

    def scores(self, network: ModelMixin, pixels: np.ndarray, truth: np.ndarray, columns: list[int]) -> np.ndarray:
        return utility_runs.predict(network, pixels)[:, columns]


class Masks:
    """Structures pixel by pixel, by a U-Net. Shapes: truth uint8 [N, S, R, R], 255 unknown; scores [N, S] Dice."""

    figures: ClassVar[Figures] = {
        "mean Dice": (lambda found, truth, weights=None: labels.mean(found, weights), "high"),
        "mean IoU": (lambda found, truth, weights=None: labels.mean(found / (2 - found), weights), "high"),
    }
    name, counted = "structure", "masks"
    new_network = staticmethod(utility_maps.new_network)
    learner = staticmethod(utility_maps.mask_learner)

    def __init__(self, side: int) -> None:
        self.side = side
        self.tables: dict[Path, dict[str, Structures]] = {}

    def usable(self, rows: pd.DataFrame, index: Path) -> np.ndarray:
        return np.ones(len(rows), bool) if "masks" in rows else rows["image"].isin(list(self.table(index))).to_numpy()

    def vocabulary(self, rows: pd.DataFrame, index: Path) -> list[str]:
        if "masks" in rows:
            return ["lungs", "heart"]
        return list(dict.fromkeys(name for image in rows["image"] for name in self.table(index).get(image, ())))

    def truth(self, rows: pd.DataFrame, index: Path, names: Sequence[str]) -> np.ndarray:
        if "masks" in rows:
            return phantom_masks([index.parent / file for file in rows["masks"]], self.side, names).numpy()
        return read_masks([self.table(index).get(image, {}) for image in rows["image"]], self.side, names).numpy()

    def counts(self, truth: np.ndarray) -> np.ndarray:
        return (truth == 1).any((2, 3))

    def judged(self, truth: np.ndarray, names: Sequence[str], least: int) -> list[str]:
        return [name for name, n in zip(names, self.counts(truth).sum(0), strict=True) if n >= least]

    def scores(self, network: ModelMixin, pixels: np.ndarray, truth: np.ndarray, columns: list[int]) -> np.ndarray:
        return utility_maps.mask_scores(utility_maps.maps_of(network, pixels)[:, columns], truth)

    def table(self, index: Path) -> dict[str, Structures]:
        """The masks beside an index, read once."""
        if index not in self.tables:
            self.tables[index] = masks_by_image(index, None)
        return self.tables[index]


class Detections:
    """Findings by their boxes. Shapes: truth [N, K, MOST, 4] (eval/boxes.py), scores as `detections.judged` gives."""

    figures: ClassVar[Figures] = {
        "AP at IoU 0.3": (partial(detections.average_precision, 0.3), "high"),
        "AP at IoU 0.1": (partial(detections.average_precision, 0.1), "high"),
        "AP at IoU 0.5": (partial(detections.average_precision, 0.5), "high"),
        "sensitivity at 1 false box an image": (partial(detections.sensitivity, 0.3), "high"),
    }
    name, counted = "finding", "boxes"
    new_network = staticmethod(utility_maps.new_network)
    learner = staticmethod(utility_maps.box_learner)

    def __init__(self) -> None:
        self.tables: dict[Path, Boxes] = {}

    def usable(self, rows: pd.DataFrame, index: Path) -> np.ndarray:
        return labelled_where_drawn(rows, self.table(rows, index))

    def vocabulary(self, rows: pd.DataFrame, index: Path) -> list[str]:
        boxes = self.table(rows, index)
        return list(dict.fromkeys(name for image in rows["image"] for name in boxes.get(image, ())))

    def truth(self, rows: pd.DataFrame, index: Path, names: Sequence[str]) -> np.ndarray:
        return box_truth(rows, self.table(rows, index), names)

    def counts(self, truth: np.ndarray) -> np.ndarray:
        return box_counts(truth)

    def judged(self, truth: np.ndarray, names: Sequence[str], least: int) -> list[str]:
        images = (box_counts(truth) > 0).sum(0)
        return [name for name, n in zip(names, images, strict=True) if n >= least]

    def scores(self, network: ModelMixin, pixels: np.ndarray, truth: np.ndarray, columns: list[int]) -> np.ndarray:
        maps = utility_maps.maps_of(network, pixels)[:, columns].numpy()
        return detections.judged(detections.detect(maps), truth)

    def table(self, rows: pd.DataFrame, index: Path) -> Boxes:
        """The boxes of an index, read once, with the rows that come first: all of them."""
        if index not in self.tables:
            self.tables[index] = drawn_boxes(rows, index)
        return self.tables[index]


def target_of(config: UtilityConfig) -> Target:
    """What a study's networks learn."""
    makers: dict[Goal, Callable[[], Target]] = {"labels": Labels, "masks": partial(Masks, config.resolution)}
    return (makers | {"boxes": Detections})[config.target]()


def known_names(target: Target, rows: pd.DataFrame, index: Path, wanted: Sequence[str]) -> list[str]:
    """The names that a study asks for, in that order, or all. Errors: UserError for one that no row has."""
    names = target.vocabulary(rows, index)
    for name in wanted:
        if name not in names and not ("masks" in rows and phantom_parts(name)):
            raise UserError(f"utility: {target.name} {name!r}: {index} has {', '.join(names) or 'none'}")
    return list(wanted) or names
