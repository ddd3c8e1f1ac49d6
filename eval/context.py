"""What every part of the evaluation measures on: the tables, the feature networks, caches and the seed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from gen import seeds

if TYPE_CHECKING:
    from .networks import FeatureNetwork
    from .utility_plan import UtilityConfig


@dataclass
class Context:
    """The inputs of one evaluation.

    `real` holds every split of the real index, `synthetic` one row an image (see `eval/inputs.py`); both have the
    columns image, view, sex, age, findings, and `synthetic` prompt. `networks[0]` is the main feature network.
    """

    real: pd.DataFrame
    synthetic: pd.DataFrame
    networks: list[FeatureNetwork]
    out: Path
    cache: Path
    seed: int = 0
    reference_split: str = "test"
    model: str | None = None
    utility: UtilityConfig | None = None  # None is the quick study
    real_index: Path = Path("index.parquet")  # beside it lie masks and boxes
    synthetic_index: Path = Path("index.parquet")
    readers: tuple[str, ...] = ("reader",)  # see eval/readers.py
    image_text: str | None = None  # see eval/image_text.py; None is the shipped one
    lungs: Path | None = None  # folder of train/segmenter.py; None is the shipped one
    writer: Callable[[np.ndarray], str] | None = None  # of a report, from an image [H, W] uint8
    reidentifier: Path | None = None  # folder of train/reidentify.py
    share: bool = False  # the page leaves out real radiographs that may not be passed on
    workers: int = 0
    resamples: int = 1000
    say: Callable[[str], None] = print
    _memory: dict = field(default_factory=dict, repr=False)

    @property
    def reference(self) -> pd.DataFrame:
        """Real radiographs that the generator was not trained on, those that the synthetic ones are held against."""
        return self.split(self.reference_split)

    @property
    def train(self) -> pd.DataFrame:
        """Real radiographs that the generator was trained on."""
        return self.split("train")

    @property
    def network(self) -> FeatureNetwork:
        """The main feature network."""
        return self.networks[0]

    def split(self, name: str) -> pd.DataFrame:
        """Real rows of one split."""
        return self.real[self.real["split"] == name].reset_index(drop=True)

    def features(self, rows: pd.DataFrame, network: FeatureNetwork | None = None) -> np.ndarray:
        """Features of every row's image, from the cache where they are there. Shapes: -> [N, D] float32."""
        network = network or self.network
        outputs = self._outputs(rows, network)
        return outputs[:, : outputs.shape[1] - network.classes]

    def logits(self, rows: pd.DataFrame, network: FeatureNetwork) -> np.ndarray | None:
        """Logits over exclusive classes, None where the network has no such head. Shapes: -> [N, K] float32."""
        return self._outputs(rows, network)[:, -network.classes :] if network.classes else None

    def _outputs(self, rows: pd.DataFrame, network: FeatureNetwork) -> np.ndarray:
        from .features import cached_outputs

        return self._once(("features", network.fingerprint), rows, lambda part: cached_outputs(part, network, self))

    def pixels(self, rows: pd.DataFrame, side: int) -> np.ndarray:
        """Images as the model sees them: padded to a square, never flipped. Shapes: -> [N, side, side] uint8."""
        from .features import read_pixels

        return self._once(("pixels", side), rows, lambda part: read_pixels(part, side, self.workers))

    def generator(self, *names: int | str) -> np.random.Generator:
        """A random stream of its own for each name, the same in every run with this seed."""
        return np.random.default_rng(seeds.mix(self.seed, *names))

    def _once(self, kind: tuple, rows: pd.DataFrame, read: Callable[[pd.DataFrame], np.ndarray]) -> np.ndarray:
        """Read only the images that no part has asked for before."""
        held = self._memory.setdefault(kind, {})
        missing = rows[[image not in held for image in rows["image"]]].drop_duplicates("image")
        if len(missing):
            held.update(zip(missing["image"], read(missing), strict=True))
        return np.stack([held[image] for image in rows["image"]])
