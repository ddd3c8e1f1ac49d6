"""Phantoms against real radiographs: grey-level histograms and power spectra, and the share within the real band."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from gen.data.images import pad_to_square, read_image, resize
from gen.data.index import read_index
from gen.errors import UserError
from gen.files import replacing
from gen.phantom.study import make_study
from gen.seeds import mix

BINS = 32  # of grey levels
BAND = (5, 95)  # percentiles
REAL_PER_PHANTOM = 10
FEWEST = 20  # real images that percentiles need
GAP = 8  # pixels between the halves of a contact sheet


@dataclass(frozen=True)
class Curves:
    """One measure. Shapes: place, low, high, middle, phantom [B]; single [n, B]; share of bins in the band, 0..1."""

    place: np.ndarray
    low: np.ndarray
    high: np.ndarray
    middle: np.ndarray
    single: np.ndarray

    @property
    def phantom(self) -> np.ndarray:
        """Median of the phantoms."""
        return np.median(self.single, axis=0)

    @property
    def share(self) -> float:
        """Share of all phantoms' bins that lie within the real band."""
        return float(((self.single >= self.low) & (self.single <= self.high)).mean())


def histogram(image: np.ndarray) -> np.ndarray:
    """Share of the pixels in each of `BINS` equal ranges of 0..1. Shapes: [H, W] -> [BINS]."""
    return np.histogram(image, BINS, (0, 1))[0] / image.size


def power(image: np.ndarray) -> np.ndarray:
    """log10 of the radial mean of |FFT|^2 under a Hann window, from 1 cycle an image to Nyquist.

    Shapes: [S, S] -> [S / 2].
    """
    size = image.shape[0]
    taper = np.hanning(size)
    spectrum = np.abs(np.fft.fft2((image - image.mean()) * taper[:, None] * taper)) ** 2 / size**2
    frequency = np.fft.fftfreq(size) * size
    ring = np.rint(np.hypot(frequency[:, None], frequency)).astype(int).ravel()
    total = np.bincount(ring, spectrum.ravel()) / np.bincount(ring)
    return np.log10(total[1 : size // 2 + 1] + 1e-12)


MEASURES: dict[str, Callable[[np.ndarray], np.ndarray]] = {"histogram": histogram, "power spectrum": power}


def compare(real: Path, n: int, seed: int, size: int, split: str = "") -> dict[str, Curves]:
    """Measure n phantoms and up to ten times as many frontal real radiographs of an index, or of one split of it.

    Errors: UserError where the index has too few of them.
    """
    # first, for an index that will not do
    radiographs = real_images(real, n * REAL_PER_PHANTOM, seed, size, Choice(split), FEWEST)
    return measured(radiographs, phantom_images(n, seed, size))


def measured(real: Iterable[np.ndarray], phantoms: Iterable[np.ndarray]) -> dict[str, Curves]:
    """Both measures of two sets of images of one size."""
    real, phantoms = list(real), list(phantoms)
    return {name: _curves(measure, real, phantoms) for name, measure in MEASURES.items()}


def draw(comparison: dict[str, Curves], path: Path) -> None:
    """Plot each measure's real band and median and every phantom.

    Errors: UserError without matplotlib.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise UserError("the plot needs matplotlib; pip install 'cxr-gen[eval]'") from None
    figure = Figure(figsize=(11, 4.5), layout="constrained")
    for axes, (name, curves) in zip(figure.subplots(1, 2), comparison.items(), strict=True):
        axes.fill_between(curves.place, curves.low, curves.high, color="0.8", label="real, 5th to 95th percentile")
        axes.plot(curves.place, curves.single.T, color="tab:blue", alpha=0.12, linewidth=0.7)
        axes.plot(curves.place, curves.middle, color="black", label="real, median")
        axes.plot(curves.place, curves.phantom, color="tab:blue", label="phantoms, median")
        axes.set_title(f"{name}: {curves.share:.0%} of the bins within the band")
        axes.set_xlabel("grey level" if name == "histogram" else "cycles per image")
        axes.legend()
    axes.set_xscale("log")
    with replacing(path) as temporary:
        figure.savefig(temporary, format=path.suffix[1:], dpi=110)


def _curves(measure: Callable[[np.ndarray], np.ndarray], real: list[np.ndarray], phantoms: list[np.ndarray]) -> Curves:
    truth = np.stack([measure(image) for image in real])
    single = np.stack([measure(image) for image in phantoms])
    bins = truth.shape[1]
    place = (np.arange(bins) + 0.5) / bins if measure is histogram else np.arange(1, bins + 1)
    return Curves(place, *np.percentile(truth, BAND, axis=0), np.median(truth, axis=0), single)


@dataclass(frozen=True)
class Choice:
    """Which frontal radiographs of an index: of one split, of one source, only those that may be shipped."""

    split: str = ""
    source: str = ""
    shippable: bool = False

    def of(self, table: pd.DataFrame) -> pd.DataFrame:
        """The rows that are meant."""
        wanted = {"split": self.split, "source": self.source, "may_ship": self.shippable}
        keep = np.ones(len(table), bool)
        if "inverted" in table:
            keep &= ~table["inverted"]
        if "view" in table:
            keep &= table["view"].isin(["PA", "AP", "AP SUPINE"])
        for column, value in wanted.items():
            if value:
                keep &= table[column] == value if column in table else False
        return table.loc[keep]

    def __str__(self) -> str:
        words = [f" of {name} {value}" for name, value in (("split", self.split), ("source", self.source)) if value]
        return "".join(words) + " that may ship" * self.shippable


def real_images(path: Path, n: int, seed: int, size: int, choice: Choice, least: int = 1) -> list[np.ndarray]:
    """Up to n frontal radiographs of an index in a random order. Shapes: -> list of [size, size], 0..1.

    Errors: UserError where there are fewer than `least`.
    """
    table = choice.of(read_index(path))
    if len(table) < least:
        raise UserError(f"{path}: {len(table)} frontal radiographs{choice}, at least {least} are needed")
    chosen = np.random.default_rng(mix("realism", seed)).permutation(len(table))[:n]
    return [np.clip(resize(pad_to_square(read_image(table["image"].iloc[k])), size), 0, 1) for k in chosen]


def phantom_images(n: int, seed: int, size: int) -> list[np.ndarray]:
    """Phantoms as they would be read from a file, three PA to one AP."""
    shots = (make_study(mix("realism", seed, k)).shoot("AP" if k % 4 == 3 else "PA", size) for k in range(n))
    return [np.round(shot.image * 255) / 255 for shot in shots]


def contact_sheet(path: Path, seed: int, size: int, rows: int, columns: int, source: str = "") -> np.ndarray:
    """Real radiographs that may be shipped on the left, phantoms on the right. Shapes: -> [H, W], 0..1."""
    count = rows * columns
    halves = [
        real_images(path, count, seed, size, Choice(source=source, shippable=True), count),
        phantom_images(count, seed, size),
    ]
    left, right = (np.block([half[k * columns : (k + 1) * columns] for k in range(rows)]) for half in halves)
    return np.hstack([left, np.ones((rows * size, GAP)), right])
