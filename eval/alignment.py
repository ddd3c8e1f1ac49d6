"""Whether images show what was asked for: labels, view, sex, age, anatomy, wording, reports; and prompts that collapse.

Beside every figure stand the same on real radiographs (floor) and on the synthetic ones under other prompts (control).
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from .agreement import Sample, attribute_figures, label_figures, label_names, thresholds
from .anatomy import EFFECTS, effect_figures, measure_pixels
from .collapse import SIDE as SMALL
from .collapse import collapse_figure
from .context import Context
from .image_text import embedded, load_matcher, match_figures, prompts_of
from .plots import bars
from .readers import load_reader
from .readings import SIDE, read_pixels
from .reports import consistency_figures, written
from .section import BAD, GOOD, UNCLEAR, Figure, Plot, Section, Verdict

LEAST = 10  # images with a label and without it, in both sets
TELLING = 0.5  # of an interval, by which a reader must beat shuffled rows on real images to count
SPREAD = 400  # real training images that a copy threshold is learned from


def measure(context: Context) -> Section:
    """Every figure for which there is a network or a writer; what is missing stands in the notes."""
    section = Section("alignment", "Faithful to the prompt")
    for name in context.readers:
        title, judge = load_reader(name)
        _add_reader(section, context, title, judge, first=name == context.readers[0])
    section.figures += _anatomy(context, section.notes)
    section.figures += _image_text(context, section.notes)
    section.figures += _reports(context, section.notes)
    figure, pairs = _collapse(context)
    section.figures.append(figure)
    section.verdicts += [*_verdicts(section), _collapse_verdict(figure, pairs, context)]
    return section


def _add_reader(section: Section, context: Context, title: str, judge, first: bool) -> None:
    """One reader's agreement; of a second one the figures' names say whose they are."""
    real, made = (_sample(context, judge, rows, title) for rows in (context.reference, context.synthetic))
    held_out = context.split("val") if context.reference_split != "val" else context.train
    tuning = _sample(context, judge, held_out, title) if len(held_out) else real
    names = [name for name in label_names([made, real], LEAST) if name in label_names([tuning], 1)]
    figures = attribute_figures(made, real, context.resamples, context.seed)
    if names:
        limits = thresholds(tuning, names)
        figures = label_figures(made, real, names, limits, context.resamples, context.seed) + figures
        areas = [figure for figure in figures if figure.name == "label AUROC" and figure.group]
        section.plots.append(Plot(f"AUROC of prompted findings, by {title}", bars(areas, "AUROC")))
    else:
        section.notes.append(f"{title}: no finding is in {LEAST} rows of either set and lacks in as many.")
    section.figures += figures if first else [_renamed(figure, title) for figure in figures]
    section.notes.append(
        f"Labels by {title}: thresholds of F1 are chosen on real images ({len(tuning.rows)}); a reader that fails on "
        "real images (floor) cannot judge synthetic ones."
    )


def _sample(context: Context, judge, rows: pd.DataFrame, title: str) -> Sample:
    return Sample(read_pixels(judge, context.pixels(rows, SIDE), f"read by {title}"), rows.reset_index(drop=True))


def _renamed(figure: Figure, title: str) -> Figure:
    from dataclasses import replace

    return replace(figure, name=f"{figure.name} by {title}")


def _anatomy(context: Context, notes: list[str]) -> list[Figure]:
    from gen.judges.lungs import SHIPPED_LUNGS, LungSegmenter

    if context.lungs is None and not SHIPPED_LUNGS.is_dir():
        notes.append("Anatomy is left out: no lung segmenter is shipped or given.")
        return []
    segmenter = LungSegmenter.load(context.lungs)
    made, real = ((rows, measure_pixels(context.pixels(rows, SIDE), segmenter)) for rows in _sets(context))
    figures = effect_figures(made, real, context.resamples, context.seed)
    notes.append(
        'Anatomy: effect sizes (Hedges g) of prompted findings against prompted "No Finding", the expected direction '
        f"positive, frontal views, {len(figures)} of {len(EFFECTS)} comparisons have enough images."
    )
    return figures


def _image_text(context: Context, notes: list[str]) -> list[Figure]:
    found = load_matcher(context.image_text)
    if found is None:
        notes.append("The image-text score is left out: no CLIP is shipped or given.")
        return []
    title, matcher = found
    parts = []
    for rows in _sets(context):
        parts.append((rows, *embedded(matcher, context.pixels(rows, SIDE), prompts_of(rows))))
    notes.append(f"Image-text by {title}; real radiographs are matched with prompts written from their labels.")
    return match_figures(*parts, context.resamples, context.seed)


def _reports(context: Context, notes: list[str]) -> list[Figure]:
    if context.writer is None:
        return []
    parts = [(rows, written(context.writer, context.pixels(rows, SIDE))) for rows in _sets(context)]
    notes.append("Report F1: the writer's reports, labelled by gen.data.labeller, against the prompts' findings.")
    return consistency_figures(*parts[0], context.resamples, context.seed, real=parts[1])


def _collapse(context: Context) -> tuple[Figure, list[tuple[int, int]]]:
    chosen = context.generator("collapse").permutation(len(context.train))[:SPREAD]
    sets = [*_sets(context), context.train.iloc[np.sort(chosen)].reset_index(drop=True)]
    parts = [(rows, context.pixels(rows, SMALL)) for rows in sets]
    return collapse_figure(*parts, context.resamples, context.seed)


def _sets(context: Context) -> tuple[pd.DataFrame, pd.DataFrame]:
    return context.synthetic, context.reference


def _verdicts(section: Section) -> list[Verdict]:
    """One sentence a figure that sums up: whether the prompt is heard, if the reader can tell at all."""
    words = {"label AUROC": "findings", "view accuracy": "the view", "sex AUROC": "the sex", "age error": "the age"}
    summaries = [figure for figure in section.figures if not figure.group and figure.name in words]
    return [_verdict(figure, words[figure.name]) for figure in summaries if figure.low is not None]


def _verdict(figure: Figure, what: str) -> Verdict:
    sign = 1 if figure.better == "high" else -1
    low, high = sorted((sign * (figure.low or 0.0), sign * (figure.high or 0.0)))
    floor, control = sign * (figure.floor or 0.0), sign * (figure.control or 0.0)
    against = f"{figure.name} {figure.value:.3f}, under other prompts {figure.control:.3f}, real {figure.floor:.3f}"
    if floor - control < TELLING * (high - low):
        return Verdict(UNCLEAR, f"The reader hardly tells {what} on real images, so cannot judge it here ({against}).")
    if low <= control:
        return Verdict(UNCLEAR, f"No sign that images follow the prompt in {what} ({against}).")
    if low > floor:
        return Verdict(GOOD, f"Images follow the prompt in {what}, more plainly than real ones do: types ({against}).")
    return Verdict(GOOD, f"Images follow the prompt in {what} ({against}).")


def _collapse_verdict(figure: Figure, pairs: list[tuple[int, int]], context: Context) -> Verdict:
    if not pairs or (figure.low or 0) <= (figure.floor or 0):
        return Verdict(GOOD, f"Different prompts give different images ({figure.value:.1%} near-identical).")
    first = [context.synthetic["image"].iloc[row].rsplit("/", 1)[-1] for row in pairs[0]]
    return Verdict(BAD, f"{figure.value:.1%} of the images repeat that of another prompt, {' and '.join(first)} first.")
