"""Whom the figures hold for: by sex, age, race, view and source; who is missed; what labels are really read from."""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd

from . import labels
from .agreement import Sample
from .anomaly import Distances, probe
from .context import Context
from .corruptions import noise
from .groups import MINIMUM, clusters_of
from .plots import bars, histogram
from .readers import load_reader
from .readings import SIDE, judged_labels, read_pixels, truth_matrix
from .resampling import as_figure, cluster_counts, estimate
from .section import BAD, GOOD, UNCLEAR, Figure, Plot, Section, Verdict
from .shortcuts import covered, device_figures, lung_masks, masked_figures
from .underdiagnosis import attribute_groups, gap_figures
from .utility_plan import load_plan
from .utility_study import run_study

LEAST = 5  # images of a group with a label, and without it
TAIL = 0.95  # of the real reference
FAR = "far from real"


def measure(context: Context) -> Section:
    """Everything for which there are networks and finished runs; what is missing stands in the notes."""
    section = Section("fairness", "Fairness and shortcuts")
    title, judge = load_reader(context.readers[0])
    real, made = (_sample(context, judge, rows) for rows in (context.reference, context.synthetic))
    train = _sample(context, judge, context.train)
    section.figures += group_figures(made, real, context.resamples, context.seed)
    areas = [figure for figure in section.figures if figure.name == "label AUROC"]
    if areas:
        section.plots.append(Plot(f"Prompted findings by group, read by {title}", bars(areas, "macro AUROC")))
    _add_anomaly(section, context, judge, train, real, made)
    section.figures += leakage_figures(real, made, context.resamples, context.seed)
    _add_shortcuts(section, context, judge, real, made)
    _add_underdiagnosis(section, context)
    section.verdicts += _verdicts(section)
    return section


def group_figures(made: Sample, real: Sample, draws: int, seed: int) -> list[Figure]:
    """Macro label AUROC and view accuracy within every group; real images of the group as floor, chance as control."""
    figures = []
    there = attribute_groups(real.rows)
    for attribute, groups in attribute_groups(made.rows).items():
        for group, mask in groups.items():
            others = there.get(attribute, {}).get(group)
            if others is None or min(mask.sum(), others.sum()) < MINIMUM:
                continue
            figures += _within(group, _some(made, mask), _some(real, others), draws, seed)
    return figures


def leakage_figures(real: Sample, made: Sample, draws: int, seed: int) -> list[Figure]:
    """How well linear probes tell view, source and real from synthetic by the reader's features, on other patients.

    Real against synthetic: 0.5 is what cannot be told apart. Permuted answers are the control.
    """
    figures = []
    for name, sample, truth in _questions(real, made):
        clusters = clusters_of(sample.rows)
        if min(truth.sum(), (~truth).sum()) < MINIMUM:
            continue
        scores = probe(sample.read.features, truth, clusters, seed)
        found = estimate(partial(labels.auroc, scores, truth), cluster_counts(clusters, draws, seed))
        shuffled = np.random.default_rng([seed, 5]).permutation(truth)
        control = labels.auroc(probe(sample.read.features, shuffled, clusters, seed), shuffled)
        figures.append(as_figure(f"{name} told by features", found, len(truth), "AUROC", "", None, control))
    return figures


def _questions(real: Sample, made: Sample):
    for sample, kind in ((real, "real"), (made, "synthetic")):
        views = sample.rows["view"].to_numpy(dtype=str)
        yield f"view of {kind} images", sample, views == "PA"
    if "source" in real.rows:
        sources = real.rows["source"].to_numpy(dtype=str)
        for source in sorted(set(sources)):
            yield f"source {source}", real, sources == source
    rows = pd.concat([real.rows.assign(id=clusters_of(real.rows)), made.rows.assign(id=clusters_of(made.rows))])
    both = Sample(_joined(real, made), pd.DataFrame({"patient_id": rows["id"].to_numpy(), "split": "test"}))
    yield "real or synthetic", both, np.arange(len(rows)) >= len(real.rows)


def _joined(real: Sample, made: Sample):
    from dataclasses import replace

    names = ("findings", "view", "female", "age", "features")
    parts = {name: np.concatenate([getattr(s.read, name) for s in (real, made)]) for name in names}
    return replace(real.read, **parts)


def _within(group: str, made: Sample, real: Sample, draws: int, seed: int) -> list[Figure]:
    names = made.read.labels
    judged = [judged_labels(truth_matrix(sample.rows["findings"], names), names, LEAST) for sample in (made, real)]
    shared = [name for name in judged[0] if name in judged[1]]
    weights = cluster_counts(clusters_of(made.rows), draws, seed)
    if not shared:
        return []
    values = [
        partial(labels.macro, labels.auroc, sample.read.scores(shared), truth_matrix(sample.rows["findings"], shared))
        for sample in (made, real, made.shuffled(seed))
    ]
    found, floor, control = estimate(values[0], weights), float(values[1](None)), float(values[2](None))
    return [as_figure("label AUROC", found, len(made.rows), "", "high", floor, control, group=group)]


def _add_anomaly(section: Section, context: Context, judge, train: Sample, real: Sample, made: Sample) -> None:
    fitted = Distances.fit(train.read.features)
    held_out, drawn = (fitted.of(sample.read.features) for sample in (real, made))
    limit = float(np.quantile(held_out, TAIL))
    pixels = noise(context.pixels(context.reference, SIDE), 3, context.generator("anomaly control"))
    noisy = fitted.of(read_pixels(judge, pixels, "read noise").features)
    weights = cluster_counts(clusters_of(made.rows), context.resamples, context.seed)
    far = estimate(partial(labels.mean, (drawn > limit).astype(float)), weights)
    middle = estimate(partial(labels.mean, drawn), weights)
    control = float((noisy > limit).mean())
    section.figures += [
        as_figure(FAR, far, len(drawn), "share", "low", 1 - TAIL, control),
        as_figure("Mahalanobis distance", middle, len(drawn), "", "low", float(held_out.mean()), float(noisy.mean())),
    ]
    shown = {"synthetic": drawn, "real held-out": held_out, "real with noise": noisy}
    section.plots.append(Plot("Distance from real training images", histogram(shown, "Mahalanobis distance", limit)))


def _add_shortcuts(section: Section, context: Context, judge, real: Sample, made: Sample) -> None:
    from gen.judges.lungs import SHIPPED_LUNGS, LungSegmenter

    for sample, kind in ((real, "real"), (made, "synthetic")):
        section.figures += device_figures(sample, f"AUROC on {kind} images", context.resamples, context.seed)
    if context.lungs is None and not SHIPPED_LUNGS.is_dir():
        section.notes.append("The masked-lung test is left out: no lung segmenter is shipped or given.")
        return
    segmenter = LungSegmenter.load(context.lungs)
    for sample, rows, kind in ((real, context.reference, "real"), (made, context.synthetic, "synthetic")):
        pixels = context.pixels(rows, SIDE)
        hidden = Sample(
            read_pixels(judge, covered(pixels, lung_masks(pixels, segmenter)), "lungs covered"), sample.rows
        )
        blank = Sample(read_pixels(judge, covered(pixels, np.ones_like(pixels, bool)), "blank"), sample.rows)
        name = f"AUROC with lungs covered, {kind}"
        section.figures += masked_figures(sample, hidden, blank, name, context.resamples, context.seed)
    section.notes.append(
        "Lungs covered: the reader's AUROC with both lungs at the grey of their surroundings. The floor is that of "
        "whole images, the control that of blank ones. What stays above the control is read off something else than "
        "lungs: the heart, which stays in sight, the view, devices, the frame."
    )


def _add_underdiagnosis(section: Section, context: Context) -> None:
    if not (context.out / "utility").is_dir():
        section.notes.append("Underdiagnosis is left out: run cxr-eval utility with the same --out first.")
        return
    study = run_study(context, context.utility or load_plan(), training=False)
    section.notes += [f"Underdiagnosis without {setting}: {reason}." for setting, reason in study.left_out.items()]
    if not study.scores:
        return
    figures, tables = gap_figures(study, study.tests[0], context.resamples, context.seed)
    section.figures += figures
    section.tables += tables
    section.notes.append(
        'Underdiagnosis: ill patients told "No Finding" by the downstream classifiers of the utility study, each '
        "saying yes as often as the label occurs. A gap is the worst group's rate less the best's; being a maximum, it "
        "is above zero even where groups are alike, so compare it with that of real images only."
    )


def _sample(context: Context, judge, rows: pd.DataFrame) -> Sample:
    return Sample(read_pixels(judge, context.pixels(rows, SIDE)), rows.reset_index(drop=True))


def _some(sample: Sample, mask: np.ndarray) -> Sample:
    return Sample(sample.read.at(np.flatnonzero(mask)), sample.rows[mask].reset_index(drop=True))


def _verdicts(section: Section) -> list[Verdict]:
    far = section.figure(FAR)
    words = f"{far.value:.0%} of the synthetic images lie further from real ones than 95 % of real held-out images do"
    if far.low is not None and far.low > 2 * (1 - TAIL):
        return [Verdict(BAD, f"{words}.")]
    if far.high is not None and far.high <= 2 * (1 - TAIL):
        return [Verdict(GOOD, f"Only {words}.")]
    return [Verdict(UNCLEAR, f"{words}: too few images to tell whether that is more than real ones.")]
