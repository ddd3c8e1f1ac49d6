"""What synthetic radiographs are worth to a classifier, segmenter or detector, on real held-out patients."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np

from . import labels
from .context import Context
from .corruptions import CORRUPTIONS, STRENGTHS
from .detections import ALARMS, MOST_FOUND
from .plots import bars
from .resampling import as_figure, cluster_counts, difference, estimate, told
from .section import BAD, GOOD, UNCLEAR, Plot, Section, Table, Verdict
from .stats import Interval
from .utility_material import IN_DOMAIN, HeldOut
from .utility_plan import REAL, SHUFFLED, baseline, load_plan
from .utility_study import Study, damage_name, run_study

SYNTHETIC = "real + synthetic"
REMARKS = {
    "labels": "ECE grows where images repeat, as they do in resamplings: its intervals lie high.",
    "masks": "Dice and IoU are means over images that show a structure, then over structures.",
    "boxes": "Boxes are the connected regions above half of the peak of a finding's map, at most "
    f"{MOST_FOUND}, scored by their own peak. AP is the area under precision against recall by steps over the images "
    f"that tell of a finding; sensitivity is at IoU 0.3 and at most {ALARMS:g} false box an image; both are means over "
    "findings. An image that is labelled with a finding without a box of it tells nothing of that finding.",
}
TITLES = {"labels": "classifier", "masks": "segmenter", "boxes": "detector"}


def measure(context: Context) -> Section:
    """Train the study's networks and compare them."""
    return summary(run_study(context, context.utility or load_plan()), context.resamples, context.seed)


def summary(study: Study, draws: int, seed: int) -> Section:
    """Figures of every setting on every test set, paired against real images only."""
    section = Section("utility", f"Gain of a downstream {TITLES[study.config.target]}")
    for test in study.tests:
        weights = cluster_counts(test.patients, draws, seed)
        chosen = seed_counts(study.config.seeds, draws, seed)
        section.figures += _figures(study, test, weights, chosen)
        section.tables.append(_settings_table(study, test, weights, chosen))
        section.tables.append(_name_table(study, test, weights, chosen))
    if study.config.corrupted:
        section.tables.append(_damage_table(study))
    section.plots.append(_plot(study, section))
    section.verdicts += _verdicts(study, draws, seed)
    section.notes += _notes(study)
    return section


def seed_counts(seeds: int, draws: int, seed: int) -> np.ndarray:
    """How often each training run stands in each resampling, as shares. Shapes: -> [draws, seeds]."""
    return np.random.default_rng([seed, 1]).multinomial(seeds, np.full(seeds, 1 / seeds), size=draws) / seeds


def over_seeds(figure: Callable, runs: list[np.ndarray], truth: np.ndarray, chosen: np.ndarray, weights):
    """A figure's mean over training runs, which are resampled with the patients. Shapes: runs [N, K] each, -> [B]."""
    each = np.array([labels.macro(figure, scores, truth, weights) for scores in runs])  # [seeds] or [seeds, B]
    return float(each.mean()) if weights is None else (each * chosen.T).sum(0)


def gain(study: Study, setting: str, against: str, test: HeldOut, figure: Callable, draws: int, seed: int) -> Interval:
    """A setting's figure minus another's on the same patients and the same seeds."""
    weights, chosen = cluster_counts(test.patients, draws, seed), seed_counts(study.config.seeds, draws, seed)
    return _gain(study, setting, against, test, figure, weights, chosen)


def _gain(study: Study, setting: str, against: str, test: HeldOut, figure: Callable, weights, chosen) -> Interval:
    values = [partial(over_seeds, figure, study.of(name, test), test.truth, chosen) for name in (setting, against)]
    return difference(*values, weights)


def _figures(study: Study, test: HeldOut, weights: np.ndarray, chosen: np.ndarray) -> list:
    made = []
    for name, (figure, better) in study.target.figures.items():
        values = {who: partial(over_seeds, figure, study.of(who, test), test.truth, chosen) for who in study.scores}
        floor, control = (float(values[who](None)) if who in values else None for who in (REAL, SHUFFLED))
        for setting, value in values.items():
            group = setting if test.name == IN_DOMAIN else f"{setting}, {test.name}"
            n = len(test.truth)
            found = estimate(value, weights)
            made.append(as_figure(name, found, n, better=better, floor=floor, control=control, group=group))
    return made


def _settings_table(study: Study, test: HeldOut, weights: np.ndarray, chosen: np.ndarray) -> Table:
    rows, main = [], main_figure(study)
    for setting in study.scores:
        cells = [setting, *map(str, study.sizes[setting])]
        for figure, _ in study.target.figures.values():
            value = partial(over_seeds, figure, study.of(setting, test), test.truth, chosen)
            found = estimate(value, weights)
            cells.append(f"{found.value:.3f} ({found.low:.3f} to {found.high:.3f})")
        against = baseline(setting)
        compared = against in study.scores and against != setting
        cells += told(_gain(study, setting, against, test, main[1], weights, chosen)) if compared else ("", "", "")
        rows.append(tuple(cells))
    header = ("setting", "real", "synthetic", *study.target.figures, f"{_short(main[0])} gain", "95 % interval", "p")
    patients = len(set(test.patients))
    names = f"{len(test.names)} {study.target.name}{'s' * (len(test.names) > 1)}"
    title = f"{test.name}: {len(test.truth)} images of {patients} patients, {names}"
    return Table(title, header, rows)


def _name_table(study: Study, test: HeldOut, weights: np.ndarray, chosen: np.ndarray) -> Table:
    rows, figures = [], list(study.target.figures.items())[:2]
    for k, name in enumerate(test.names):
        cells = [name, str(int(study.target.counts(test.truth[:, [k]]).sum()))]
        for setting in study.scores:
            runs = [scores[:, [k]] for scores in study.of(setting, test)]
            parts = (partial(over_seeds, of, runs, test.truth[:, [k]], chosen) for _, (of, _) in figures)
            first, second = (estimate(part, weights) for part in parts)
            cells.append(f"{first.value:.3f} ({first.low:.3f} to {first.high:.3f}); {second.value:.3f}")
        rows.append(tuple(cells))
    title = f"{test.name}: {_short(figures[0][0])} (95 % interval); {_short(figures[1][0])}"
    return Table(title, (study.target.name, study.target.counted, *study.scores), rows)


def main_figure(study: Study) -> tuple[str, Callable]:
    """Name and formula of the figure that gains and verdicts are told of."""
    name, (figure, _) = next(iter(study.target.figures.items()))
    return name, figure


def _short(name: str) -> str:
    return name.removeprefix("macro ").removeprefix("mean ")


def _plot(study: Study, section: Section) -> Plot:
    name, _ = main_figure(study)
    figures = [replace(section.figure(name, setting), floor=None, control=None) for setting in study.scores]
    return Plot(f"{name} of every setting on the in-domain test images, with 95 % intervals", bars(figures, name))


def _damage_table(study: Study) -> Table:
    test = study.tests[0]
    rows, (name, figure) = [], main_figure(study)
    for damage in CORRUPTIONS:
        for strength in STRENGTHS:
            damaged = damage_name(damage, strength)
            values = (
                np.mean([labels.macro(figure, run, test.truth) for run in study.of(setting, test, damaged)])
                for setting in study.scores
            )
            rows.append((f"{damage} {strength}", *(f"{value:.3f}" for value in values)))
    return Table(
        f"{name[0].upper()}{name[1:]} under corruptions of the in-domain test images",
        ("corruption", *study.scores),
        rows,
    )


def _verdicts(study: Study, draws: int, seed: int) -> list[Verdict]:
    found = []
    name, figure = main_figure(study)
    for test in study.tests:
        if {SYNTHETIC, REAL} <= set(study.scores):
            change = gain(study, SYNTHETIC, REAL, test, figure, draws, seed)
            found.append(_verdict(test, change, name, f"Adding {study.sizes[SYNTHETIC][1]} synthetic images"))
        if {SYNTHETIC, SHUFFLED} <= set(study.scores) and test.name == IN_DOMAIN:
            change = gain(study, SYNTHETIC, SHUFFLED, test, figure, draws, seed)
            what = f"Against the same images with shuffled {study.config.target}, giving the right ones"
            found.append(_verdict(test, change, name, what))
    return found


def _verdict(test: HeldOut, change: Interval, name: str, what: str) -> Verdict:
    size = f"{change.value:+.3f} ({change.low:+.3f} to {change.high:+.3f}, {test.name})"
    if change.low > 0:
        return Verdict(GOOD, f"{what} raises {name} by {size}.")
    if change.high < 0:
        return Verdict(BAD, f"{what} lowers {name} by {size}.")
    return Verdict(UNCLEAR, f"{what} changes {name} by {size}: {len(test.truth)} images cannot tell.")


def _notes(study: Study) -> list[str]:
    config = study.config
    notes = [
        f"Every setting trains the same network ({config.backbone}, {config.resolution} px) for {config.steps} steps "
        f"of {config.batch_size} images with {config.seeds} seeds; nothing is chosen on held-out images. Intervals "
        "resample patients and training runs. A share of the real images is a share of their patients: where the "
        "generator itself was trained on all of them, gains at 1 % or 10 % include what it learned from the rest.",
        "A set drawn for the held-out split's own prompts, as fidelity wants it, brings that split's mix of labels, "
        "ages and sexes along; a fair gain is that of a set planned from the train split (cxr-sample plan --index).",
        f"Shuffled: the synthetic images with one another's {config.target}; what it gains is not owed to them.",
        REMARKS[config.target],
    ]
    return notes + [f"Left out: {setting} ({reason})." for setting, reason in study.left_out.items()]
