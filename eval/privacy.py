"""Privacy: copies, closeness to the training set, membership, prompts that call up patients, re-identification."""

from __future__ import annotations

import numpy as np

from gen.data.looks import THUMBNAIL

from . import copies, offenders
from .context import Context
from .copies import Neighbours
from .membership import judge_membership
from .patients import judge_patients
from .plots import histogram
from .recalled_prompts import judge_prompts
from .reidentification import judge_reidentified
from .resampling import as_figure
from .section import BAD, GOOD, UNCLEAR, Figure, Plot, Section, Verdict
from .separation import separation
from .stats import share

FOUND = 0.8  # share of planted copies: a search that finds fewer says little
PLACES = ("made_at", "held_out_at", "planted_at")
NEARER = 0.55  # share of comparisons: above, synthetic images are nearer to the training set than held-out ones


def measure(context: Context) -> Section:
    """Every way in which a training radiograph can come back."""
    section = Section("privacy", "Privacy and memorisation")
    planted = copies.plant(context)
    found = {"features": copies.by_features(context, planted), "pixels": copies.by_pixels(context, planted)}
    again = _copies(context, section, planted, found)
    for kind, each in found.items():
        _near(context, section, kind, each)
    section.plots.append(offenders.side_by_side(context, found["features"], again))
    section.tables.append(offenders.listed(context, found["features"]))
    judge_patients(context, section)
    judge_reidentified(context, section)
    judge_membership(context, section)
    judge_prompts(context, section, found["features"])
    section.notes += [
        "A copy is one exposure again. Two searches look for it: details of 64-pixel thumbnails of all pairs, which "
        "correlate at 0.88 or more at the best shift; and each image's nearest training images by features and by "
        "pixels, laid over it in 25 turns and sizes, where 0.86 counts. Other exposures, even of one patient, mostly "
        "stay below. The floor is the same search with held-out images, the control with planted copies of training "
        "images: another size, moved and turned a little, another grey scale, noise, JPEG.",
        "A near copy is nearer to a training image than one in a thousand innocent real images is. A distance alone, "
        "even one that forgives what happens to copies, cannot tell all copies from other radiographs: the control "
        "says how many. "
        f"Distances by {context.network.remark}",
        *filter(None, [offenders.withheld_note(context)]),
    ]
    return section


def _copies(
    context: Context, section: Section, planted: tuple[np.ndarray, np.ndarray], found: dict[str, Neighbours]
) -> set[int]:
    """Figures, table and verdicts of copies; returns the synthetic rows that are some."""
    train, thumbnails = (context.pixels(rows, THUMBNAIL) for rows in (context.train, context.synthetic))
    near = {name: np.concatenate([getattr(each, name) for each in found.values()], axis=1) for name in PLACES}
    again = copies.copied(thumbnails, train, near["made_at"])
    held_out = copies.copied(context.pixels(context.reference, THUMBNAIL), train, near["held_out_at"])
    known = copies.copied(copies.planted_thumbnails(planted), train, near["planted_at"])
    flagged = np.isin(np.arange(len(thumbnails)), [pair[0] for pair in again])
    floor, control = len(held_out) / len(context.reference), len(known) / len(planted[0])
    section.figures.append(Figure("copies of training images", len(again), None, None, len(flagged), "images", "low"))
    section.figures.append(as_figure("copy rate", share(flagged), len(flagged), "", "low", floor, control))
    if again:
        section.tables.append(offenders.copy_table(context, again))
    section.verdicts += _copy_verdicts(flagged, len(held_out), control)
    return set(np.flatnonzero(flagged).tolist())


def _copy_verdicts(flagged: np.ndarray, held_out: int, control: float) -> list[Verdict]:
    count, n = int(flagged.sum()), len(flagged)
    at_most = f"at most {100 * share(flagged).high:.2g} % at 95 % confidence"
    found = [Verdict(GOOD, f"No copy of a training radiograph among {n} images ({at_most}).")]
    if count:
        words = f"{count} of {n} synthetic images are copies of training radiographs; remove them before release."
        found = [Verdict(BAD, words)]
    if held_out:
        words = f"{held_out} held-out radiographs are in the training split too: the index leaks, mend it first."
        found.append(Verdict(BAD, words))
    if control < FOUND:
        words = f"The search finds only {100 * control:.0f} % of planted copies: its silence proves little."
        found.append(Verdict(UNCLEAR, words))
    return found


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
    if closer.low > NEARER:
        words = (
            f"By {kind} a synthetic image is nearer to the training set than a held-out real one in "
            f"{100 * closer.value:.0f} % of comparisons (50 % would be fair)."
        )
        section.verdicts.append(Verdict(BAD, words))
