"""The page's pictures, drawn without a display and the same to the byte in every run."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np

from .section import Figure

REAL, MADE, TRAIN, CONTROL = "#1f6f8b", "#d9822b", "#b9c4c9", "#8a8f98"
DPI = 110


@contextmanager
def drawing(width: float, height: float, columns: int = 1) -> Iterator[tuple]:
    """A figure, its axes, and a list that takes the PNG's bytes. Sizes in inches."""
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    settings = {"font.size": 9, "axes.spines.top": False, "axes.spines.right": False, "figure.facecolor": "white"}
    with plt.rc_context(settings):
        figure, axes = plt.subplots(1, columns, figsize=(width, height), constrained_layout=True)
        taken: list[bytes] = []
        try:
            yield figure, axes, taken
            buffer = io.BytesIO()
            figure.savefig(buffer, format="png", dpi=DPI, metadata={"Software": None})
            taken.append(buffer.getvalue())
        finally:
            plt.close(figure)


def feature_map(sets: Mapping[str, np.ndarray]) -> bytes:
    """Sets of vectors on the two strongest components of the first one. Shapes: [N, D] each."""
    first = next(iter(sets.values()))
    mean = first.mean(0)
    basis = np.linalg.svd(first - mean, full_matrices=False)[2][:2]
    basis *= np.sign(basis[np.arange(2), np.abs(basis).argmax(1)])[:, None]  # a sign that every run agrees on
    colours = dict(zip(sets, (REAL, MADE, TRAIN, CONTROL), strict=False))
    with drawing(5.6, 4.2) as (_, axes, taken):
        for name, vectors in sets.items():
            x, y = basis @ (vectors - mean).T
            axes.scatter(x, y, s=14, alpha=0.6, lw=0, color=colours[name], label=f"{name} ({len(vectors)})")
        axes.set(xlabel="first component", ylabel="second component", xticks=[], yticks=[])
        axes.legend(frameon=False)
    return taken[0]


def bars(figures: Sequence[Figure], label: str) -> bytes:
    """One figure by group: bars with intervals, a tick at the real-vs-real floor, a cross at the control."""
    names = [f"{figure.group} (n {figure.n})" for figure in figures]
    place = np.arange(len(figures))[::-1]
    with drawing(5.8, 0.9 + 0.3 * len(figures)) as (_, axes, taken):
        axes.barh(place, [figure.value for figure in figures], color=MADE, height=0.6, alpha=0.85)
        for y, figure in zip(place, figures, strict=True):
            if figure.low is not None and np.isfinite(figure.low):
                axes.plot([figure.low, figure.high], [y, y], color="black", lw=1)
        for values, marker, colour, said in (
            ([figure.floor for figure in figures], "|", REAL, "real against real"),
            ([figure.control for figure in figures], "x", CONTROL, "control"),
        ):
            shown = [(value, y) for value, y in zip(values, place, strict=True) if value is not None]
            if shown:
                axes.scatter(*zip(*shown, strict=True), marker=marker, color=colour, s=60, zorder=3, label=said)
        axes.set_yticks(place, names)
        axes.set_xlabel(label)
        if any(value is not None for figure in figures for value in (figure.floor, figure.control)):
            axes.legend(frameon=False, fontsize=8)
    return taken[0]


def histogram(values: Mapping[str, np.ndarray], label: str, line: float | None = None) -> bytes:
    """Distributions of one quantity over several sets, as densities, with a threshold."""
    colours = (MADE, REAL, TRAIN, CONTROL)
    together = np.concatenate([np.asarray(part, dtype=float) for part in values.values()])
    edges = np.linspace(together.min(), np.quantile(together, 0.995) + 1e-9, 41)
    with drawing(5.6, 3.2) as (_, axes, taken):
        for (name, part), colour in zip(values.items(), colours, strict=False):
            axes.hist(part, edges, density=True, histtype="stepfilled", alpha=0.45, color=colour, label=name)
        if line is not None:
            axes.axvline(line, color="black", ls="--", lw=1, label=f"threshold {line:.3g}")
        axes.set(xlabel=label, yticks=[])
        axes.legend(frameon=False)
    return taken[0]


def roc(curves: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> bytes:
    """ROC curves from positives' and negatives' scores, with their areas."""
    with drawing(4.2, 4.0) as (_, axes, taken):
        axes.plot([0, 1], [0, 1], color=CONTROL, lw=0.8, ls=":")
        for (name, (positive, negative)), colour in zip(curves.items(), (MADE, REAL, CONTROL, TRAIN), strict=False):
            steps = np.r_[np.inf, np.unique(np.r_[positive, negative])[::-1]]
            hits = [(positive >= step).mean() for step in steps]
            alarms = [(negative >= step).mean() for step in steps]
            axes.plot(alarms, hits, color=colour, label=f"{name}: AUROC {np.trapezoid(hits, alarms):.3f}")
        axes.set(xlabel="false positive rate", ylabel="true positive rate", xlim=(0, 1), ylim=(0, 1.01), aspect="equal")
        axes.legend(frameon=False, loc="lower right", fontsize=8)
    return taken[0]


def step_curves(curves: Mapping[str, Sequence], real: float) -> bytes:
    """Frechet distance by number of steps and by seconds an image, a line a sampler (eval.steps.Point)."""
    colours = dict(zip(curves, (TRAIN, CONTROL, REAL, MADE), strict=False))
    with drawing(8.0, 3.4, 2) as (_, axes, taken):
        for axis, what, label in zip(axes, ("steps", "seconds"), ("steps", "seconds an image"), strict=True):
            for name, points in curves.items():
                x = [getattr(point, what) for point in points]
                axis.plot(x, [point.frechet for point in points], marker="o", ms=4, color=colours[name], label=name)
            axis.axhline(real, color="black", ls=":", lw=1, label="real training images")
            axis.set(xscale="log", yscale="log", xlabel=label, ylabel="Frechet distance")
        axes[0].legend(frameon=False, fontsize=8)
    return taken[0]


def gallery(pairs: Sequence[tuple[np.ndarray, np.ndarray, str]]) -> bytes:
    """Pairs of images above one another with a caption, six a row. Shapes: images [S, S] uint8."""
    across = min(6, len(pairs))
    down = -(-len(pairs) // across)
    with drawing(1.25 * across, 2.75 * down) as (figure, axes, taken):
        axes.remove()
        for number, (above, below, caption) in enumerate(pairs):
            row, column = divmod(number, across)
            for line, image in enumerate((above, below)):
                cell = figure.add_subplot(2 * down, across, (2 * row + line) * across + column + 1)
                cell.imshow(image, cmap="gray", vmin=0, vmax=255)
                cell.set_xticks([])
                cell.set_yticks([])
                cell.set_title(caption if line == 0 else "", fontsize=7)
    return taken[0]
