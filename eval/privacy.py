"""Privacy: copies, closeness to the training set, membership, prompts that call up patients, re-identification."""

from __future__ import annotations

import numpy as np

from gen.data.looks import THUMBNAIL

from . import copies
from .context import Context
from .copies import Neighbours
from .membership import judge_membership
from .patients import judge_patients
from .plots import histogram
from .recalled_prompts import judge_prompts
from .resampling import as_figure
from .section import BAD, GOOD, UNCLEAR, Figure, Plot, Section, Table, Verdict
from .separation import separation
from .stats import share

NEARER = 0.55  # share of comparisons: above, synthetic images are nearer to the training set than held-out ones


def measure(context: Context) -> Section:
    """Every way in which a training radiograph can come back."""
    section = Section("privacy", "Privacy and memorisation")
    planted = copies.plant(context)
    found = {"features": copies.by_features(context, planted), "pixels": copies.by_pixels(context, planted)}
    _copies(context, section, planted)
    for kind, each in found.items():
        _near(context, section, kind, each)
    rows = copies.worst(context, found["features"])
    section.plots.append(copies.side_by_side(context, found["features"], rows))
    section.tables.append(copies.listed(context, found["features"], rows))
    judge_patients(context, section)
    judge_membership(context, section)
    judge_prompts(context, section, found["features"])
    section.notes += [
        "A copy is one exposure again: details of 64-pixel thumbnails correlate at 0.88 or more at the best shift; "
        "other exposures, even of one patient, stay below 0.86. The floor is the same search with held-out images, the "
        "control with planted copies of training images at half size, another gamma and less contrast.",
        "A near copy is nearer to a training image than one in a thousand innocent real images is. "
        f"Distances by {context.network.remark}",
    ]
    return section


def _copies(context: Context, section: Section, planted: tuple[np.ndarray, np.ndarray]) -> None:
    thumbnails = context.pixels(context.synthetic, THUMBNAIL)
    found = copies.copied(context, thumbnails)
    held_out = copies.copied(context, context.pixels(context.reference, THUMBNAIL))
    again = copies.copied(context, copies.planted_thumbnails(planted))
    n = len(thumbnails)
    flagged = np.zeros(n, dtype=bool)
    flagged[[pair[0] for pair in found]] = True
    floor, control = len(held_out) / len(context.reference), len(again) / len(planted[0])
    section.figures.append(Figure("copies of training images", len(found), None, None, n, "images", "low"))
    section.figures.append(as_figure("copy rate", share(flagged), n, "", "low", floor, control))
    if found:
        section.tables.append(_copy_table(context, found))
        words = f"{len(found)} of {n} synthetic images are copies of training radiographs; remove them before release."
        section.verdicts.append(Verdict(BAD, words))
    else:
        at_most = f"at most {100 * share(flagged).high:.2g} % at 95 % confidence"
        section.verdicts.append(Verdict(GOOD, f"No copy of a training radiograph among {n} images ({at_most})."))
    if held_out:
        words = f"{len(held_out)} held-out radiographs are in the training split too: the index leaks, mend it first."
        section.verdicts.append(Verdict(BAD, words))


def _copy_table(context: Context, found: list[tuple[int, int, float]]) -> Table:
    lines = [
        (
            str(context.synthetic["image"].iloc[a]).rsplit("/", 1)[-1],
            str(context.train["image"].iloc[b]).rsplit("/", 1)[-1],
            f"{correlation:.3f}",
        )
        for a, b, correlation in found
    ]
    return Table("Copies", ("synthetic", "training image", "correlation"), lines)


def _near(context: Context, section: Section, kind: str, found: Neighbours) -> None:
    """Near copies by threshold, and whether synthetic images are nearer to the training set than held-out ones."""
    n, limit = len(found.made), found.limit
    floor, control = float(limit.flags(found.held_out).mean()), float(limit.flags(found.planted).mean())
    near = share(limit.flags(found.made))
    section.figures.append(as_figure(f"near copies by {kind}", near, n, "", "low", floor, control))
    tables = [context.synthetic, context.reference]
    closer = separation(context, -found.made, -found.held_out, tables, f"closeness {kind}")
    section.figures.append(as_figure(f"nearer to training than held-out, {kind}", closer, n, "", "low", 0.5, 1.0))
    sets = {"synthetic": found.made, "held-out real": found.held_out, "training, other patients": limit.innocent}
    caption = f"Distance to the nearest training image by {kind}; the line is the copy threshold ({limit.way})"
    section.plots.append(Plot(caption, histogram(sets, f"distance by {kind}", limit.threshold)))
    if near.low > max(floor, limit.false_alarms):
        words = f"{100 * near.value:.1f} % of the images lie as near to a training image by {kind} as copies do."
        section.verdicts.append(Verdict(BAD, words))
    if control < 0.8:
        words = f"The search by {kind} finds only {100 * control:.0f} % of planted copies: its silence proves little."
        section.verdicts.append(Verdict(UNCLEAR, words))
    if closer.low > NEARER:
        words = (
            f"By {kind} a synthetic image is nearer to the training set than a held-out real one in "
            f"{100 * closer.value:.0f} % of comparisons (50 % would be fair)."
        )
        section.verdicts.append(Verdict(BAD, words))
