"""What synthetic radiographs are worth to a classifier: gains on real held-out patients, with intervals and tests."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from . import labels
from .context import Context
from .corruptions import CORRUPTIONS, STRENGTHS
from .resampling import as_figure, cluster_counts, difference, estimate, told
from .section import BAD, GOOD, UNCLEAR, Section, Table, Verdict
from .stats import Interval
from .utility_plan import REAL, SHUFFLED, baseline, load_plan
from .utility_study import IN_DOMAIN, HeldOut, Study, damage_name, run_study

FIGURES: dict[str, tuple[Callable, str]] = {
    "macro AUROC": (labels.auroc, "high"),
    "macro AUPRC": (labels.average_precision, "high"),
    "macro ECE": (labels.calibration_error, "low"),
}
MAIN = "macro AUROC"
SYNTHETIC = "real + synthetic"


def measure(context: Context) -> Section:
    """Train the study's classifiers and compare them."""
    return summary(run_study(context, context.utility or load_plan()), context.resamples, context.seed)


def summary(study: Study, draws: int, seed: int) -> Section:
    """Figures of every setting on every test set, paired against real images only."""
    section = Section("utility", "Gain of a downstream classifier")
    for test in study.tests:
        weights = cluster_counts(test.patients, draws, seed)
        chosen = seed_counts(study.config.seeds, draws, seed)
        section.figures += _figures(study, test, weights, chosen)
        section.tables.append(_settings_table(study, test, weights, chosen))
        section.tables.append(_label_table(study, test, weights, chosen))
    if study.config.corrupted:
        section.tables.append(_damage_table(study))
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
    for name, (figure, better) in FIGURES.items():
        values = {who: partial(over_seeds, figure, study.of(who, test), test.truth, chosen) for who in study.scores}
        floor, control = (float(values[who](None)) if who in values else None for who in (REAL, SHUFFLED))
        for setting, value in values.items():
            group = setting if test.name == IN_DOMAIN else f"{setting}, {test.name}"
            n = len(test.truth)
            found = estimate(value, weights)
            made.append(as_figure(name, found, n, better=better, floor=floor, control=control, group=group))
    return made


def _settings_table(study: Study, test: HeldOut, weights: np.ndarray, chosen: np.ndarray) -> Table:
    rows = []
    for setting in study.scores:
        cells = [setting, *map(str, study.sizes[setting])]
        for figure, _ in FIGURES.values():
            value = partial(over_seeds, figure, study.of(setting, test), test.truth, chosen)
            found = estimate(value, weights)
            cells.append(f"{found.value:.3f} ({found.low:.3f} to {found.high:.3f})")
        against = baseline(setting)
        compared = against in study.scores and against != setting
        cells += told(_gain(study, setting, against, test, labels.auroc, weights, chosen)) if compared else ("", "", "")
        rows.append(tuple(cells))
    header = ("setting", "real", "synthetic", *FIGURES, "AUROC gain", "95 % interval", "p")
    patients = len(set(test.patients))
    title = f"{test.name}: {len(test.truth)} images of {patients} patients, {len(test.names)} labels"
    return Table(title, header, rows)


def _label_table(study: Study, test: HeldOut, weights: np.ndarray, chosen: np.ndarray) -> Table:
    rows = []
    for k, name in enumerate(test.names):
        cells = [name, str(int(test.truth[:, k].sum()))]
        for setting in study.scores:
            runs = [scores[:, [k]] for scores in study.of(setting, test)]
            parts = (partial(over_seeds, of, runs, test.truth[:, [k]], chosen) for of, _ in list(FIGURES.values())[:2])
            area, precision = (estimate(part, weights) for part in parts)
            cells.append(f"{area.value:.3f} ({area.low:.3f} to {area.high:.3f}); {precision.value:.3f}")
        rows.append(tuple(cells))
    return Table(f"{test.name}: AUROC (95 % interval); AUPRC", ("label", "positive", *study.scores), rows)


def _damage_table(study: Study) -> Table:
    test = study.tests[0]
    rows = []
    for damage in CORRUPTIONS:
        for strength in STRENGTHS:
            name = damage_name(damage, strength)
            values = (
                np.mean([labels.macro(labels.auroc, run, test.truth) for run in study.of(setting, test, name)])
                for setting in study.scores
            )
            rows.append((f"{damage} {strength}", *(f"{value:.3f}" for value in values)))
    return Table("Macro AUROC under corruptions of the in-domain test images", ("corruption", *study.scores), rows)


def _verdicts(study: Study, draws: int, seed: int) -> list[Verdict]:
    found = []
    for test in study.tests:
        if {SYNTHETIC, REAL} <= set(study.scores):
            change = gain(study, SYNTHETIC, REAL, test, labels.auroc, draws, seed)
            found.append(_verdict(test, change, f"Adding {study.sizes[SYNTHETIC][1]} synthetic images"))
        if {SYNTHETIC, SHUFFLED} <= set(study.scores) and test.name == IN_DOMAIN:
            change = gain(study, SYNTHETIC, SHUFFLED, test, labels.auroc, draws, seed)
            found.append(_verdict(test, change, "Against the same images with shuffled labels, giving the right ones"))
    return found


def _verdict(test: HeldOut, change: Interval, what: str) -> Verdict:
    size = f"{change.value:+.3f} ({change.low:+.3f} to {change.high:+.3f}, {test.name})"
    if change.low > 0:
        return Verdict(GOOD, f"{what} raises macro AUROC by {size}.")
    if change.high < 0:
        return Verdict(BAD, f"{what} lowers macro AUROC by {size}.")
    return Verdict(UNCLEAR, f"{what} changes macro AUROC by {size}: {len(test.truth)} images cannot tell.")


def _notes(study: Study) -> list[str]:
    config = study.config
    notes = [
        f"Every setting trains the same network ({config.backbone}, {config.resolution} px) for {config.steps} steps "
        f"of {config.batch_size} images with {config.seeds} seeds; nothing is chosen on held-out images. Intervals "
        "resample patients and training runs. A share of the real images is a share of their patients; the generator "
        "itself was trained on all of them, so gains at 1 % or 10 % include what it learned from the rest.",
        "A set drawn for the held-out split's own prompts, as fidelity wants it, brings that split's mix of labels, "
        "ages and sexes along; a fair gain is that of a set planned from the train split (cxr-sample plan --index).",
        "Shuffled: the synthetic images with one another's labels; what it gains is not owed to the labels. ECE grows "
        "where images repeat, as they do in resamplings: its intervals lie high.",
    ]
    return notes + [f"Left out: {setting} ({reason})." for setting, reason in study.left_out.items()]
