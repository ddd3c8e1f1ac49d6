"""Fidelity and diversity: synthetic against held-out real radiographs at equal numbers, overall and by subset."""

from __future__ import annotations

import numpy as np
import pandas as pd

from gen.judges.frechet import frechet_distance

from . import diversity, radiomics
from .context import Context
from .fidelity_words import judge
from .groups import MINIMUM, clusters_of, groups_of
from .networks import FeatureNetwork
from .plots import bars, feature_map
from .section import Better, Figure, Plot, Section
from .sets import BETTER, Set, compare, frechet_interval, jackknifed, kernel_figures
from .stats import Interval, bootstrap, halves

PAIRS = 100  # of images, for MS-SSIM
RADIOMICS_UP_TO = 2000  # images of a set
SHOWN = 1500  # points of the map
GROUP_FIGURES = ("KID", "Frechet distance")


def measure(context: Context) -> Section:
    """Distances, coverage and diversity by every feature network, and by pixels."""
    section = Section("fidelity", "Fidelity and diversity")
    for number, network in enumerate(context.networks):
        suffix = "" if number == 0 else f", {network.name}"
        section.figures += _overall(context, network, suffix) + _features_diversity(context, network, suffix)
    section.figures += _radiomics(context) + _pixel_diversity(context)
    grouped, small = _by_group(context)
    section.figures += grouped
    _picture(context, section, grouped)
    judge(context, section, small)
    return section


def figures_of(
    found: dict[str, Interval],
    floor: dict[str, Interval],
    control: dict[str, Interval],
    n: int,
    suffix: str,
    group: str = "",
) -> list[Figure]:
    """Figures from intervals of the same names; an extrapolated floor is not computed."""
    return [
        Figure(
            name=name + suffix,
            value=one.value,
            low=_known(one.low),
            high=_known(one.high),
            n=n,
            better=BETTER[name],
            floor=floor[name].value if name in floor else None,
            control=control[name].value if name in control else None,
            group=group,
        )
        for name, one in found.items()
    ]


def _sets(context: Context, network: FeatureNetwork) -> tuple[Set, Set, Set]:
    """Synthetic, reference and training vectors with their clusters."""
    tables = (context.synthetic, context.reference, _other(context))
    return tuple(Set(context.features(rows, network), clusters_of(rows)) for rows in tables)


def _other(context: Context) -> pd.DataFrame:
    """Real radiographs of other patients than the reference, for the floor."""
    return context.train if context.reference_split != "train" else context.split("test")


def _overall(context: Context, network: FeatureNetwork, suffix: str) -> list[Figure]:
    generator = context.generator("fidelity", network.fingerprint)
    made, real, other = _sets(context, network)
    if len(other.vectors) < MINIMUM:  # no second real set: the reference in two patient-disjoint halves
        first, second = halves(real.clusters, generator)
        real, other = real.rows(first), real.rows(second)
    n = min(len(part.vectors) for part in (made, real, other))
    made, real, other = (part.cut(n, generator) for part in (made, real, other))
    found = compare(made, real, generator)
    floor = compare(other, real, generator, intervals=False)
    control = compare(_broken(context, network, n), real, generator, intervals=False)
    return figures_of(found, floor, control, n, suffix)


def _broken(context: Context, network: FeatureNetwork, n: int) -> Set:
    """Real radiographs in pieces: the control of every distance."""
    rows = _other(context)
    chosen = rows.iloc[np.sort(context.generator("control").permutation(len(rows))[:n])]
    return Set(context.features(chosen, network.in_pieces()), clusters_of(chosen))


def _features_diversity(context: Context, network: FeatureNetwork, suffix: str) -> list[Figure]:
    """Vendi score, and the Inception Score of a network with exclusive classes; the floor is the real reference's."""
    generator = context.generator("diversity", network.fingerprint)
    made, real, _ = _sets(context, network)
    n = min(len(made.vectors), len(real.vectors))
    made, real = made.cut(n, generator), real.cut(n, generator)
    vendi = jackknifed(lambda rows: diversity.vendi_score(made.vectors[rows]), made.clusters, generator)
    same = np.repeat(made.vectors[:1], n, axis=0)
    figures = [
        _single("Vendi score", suffix, vendi, n, diversity.vendi_score(real.vectors), diversity.vendi_score(same))
    ]
    logits = context.logits(context.synthetic, network)
    if logits is not None:
        theirs = diversity.inception_score(context.logits(context.reference, network))
        score = jackknifed(
            lambda rows: diversity.inception_score(logits[rows]), clusters_of(context.synthetic), generator
        )
        figures.append(_single("Inception Score", suffix, score, len(logits), theirs, 1.0))
    return figures


def _radiomics(context: Context) -> list[Figure]:
    generator = context.generator("radiomics")
    tables = [context.synthetic, context.reference, _other(context)]
    n = min(RADIOMICS_UP_TO, *map(len, tables))
    cut = [rows.iloc[np.sort(generator.permutation(len(rows))[:n])] for rows in tables]
    made, real, other = (radiomics.radiomics(context.pixels(rows, radiomics.SIDE)) for rows in cut)
    made, other, real = (radiomics.standardised(vectors, real) for vectors in (made, other, real))
    found = frechet_interval(Set(made, clusters_of(cut[0])), Set(real, clusters_of(cut[1])), generator)
    floor, control = (frechet_distance(part, real) for part in (other, generator.permuted(other, axis=0)))
    return [_single(f"Frechet radiomics distance ({radiomics.VERSION})", "", found, n, floor, control, "low")]


def _pixel_diversity(context: Context) -> list[Figure]:
    """MS-SSIM of pairs; within a prompt the floor is real pairs of other patients with the same view and findings."""
    generator = context.generator("ms-ssim")
    made, real = context.synthetic, context.reference
    alike = [f"{view}/{findings}" for view, findings in zip(real["view"], real["findings"], strict=True)]
    patients = real["patient_id"].to_numpy()
    real_pairs = diversity.pairs_across(patients, PAIRS, generator)
    same = [(a, b) for a, b in diversity.pairs_within(alike, 8 * PAIRS, generator) if patients[a] != patients[b]][
        :PAIRS
    ]
    within = diversity.pairs_within(made["prompt"].tolist(), PAIRS, generator)
    across = diversity.pairs_across(made["prompt"].tolist(), PAIRS, generator)
    figures = []
    for name, pairs, reference in (("within a prompt", within, same), ("within the set", across, real_pairs)):
        if len(pairs) < MINIMUM:
            continue
        values = _similar(context, made, pairs)
        floor = float(_similar(context, real, reference).mean()) if len(reference) else None
        clusters = [made["prompt"].iloc[a] for a, _ in pairs]
        found = bootstrap(lambda rows: values[rows].mean(), clusters, context.resamples, generator)  # noqa: B023
        figures.append(_single(f"MS-SSIM {name}", "", found, len(pairs), floor, 1.0, "low"))
    return figures


def _similar(context: Context, rows: pd.DataFrame, pairs: list[tuple[int, int]]) -> np.ndarray:
    used = sorted({row for pair in pairs for row in pair})
    place = {row: number for number, row in enumerate(used)}
    pixels = context.pixels(rows.iloc[used], diversity.SIDE)
    return diversity.similarities(pixels, [(place[a], place[b]) for a, b in pairs])


def _by_group(context: Context) -> tuple[list[Figure], list[str]]:
    """KID and Frechet distance of each subset at equal numbers; the control is as many synthetic images of others."""
    made, real, other = _sets(context, context.network)
    masks = [groups_of(rows) for rows in (context.synthetic, context.reference, _other(context))]
    figures, small = [], []
    for name in sorted(set(masks[0]) & set(masks[1]) & set(masks[2])):
        generator = context.generator("group", name)
        inside = [part.rows(np.flatnonzero(mask[name])) for part, mask in zip((made, real, other), masks, strict=True)]
        n = min(len(part.vectors) for part in inside)
        if n < MINIMUM:
            small += [f"{name} ({n})"] * (n > 0)
            continue
        ours, theirs, second = (part.cut(n, generator) for part in inside)
        outside = made.rows(np.flatnonzero(~masks[0][name]))
        wrong = outside.cut(min(n, len(outside.vectors)), generator) if len(outside.vectors) >= MINIMUM else None
        found = _group_figures(ours, theirs, generator, True)
        floor = _group_figures(second, theirs, generator, False)
        control = {} if wrong is None else _group_figures(wrong, theirs, generator, False)
        if wrong is not None and len(wrong.vectors) < n:
            control = {"KID": control["KID"]}  # the only one that may be taken at another number
        figures += figures_of(found, floor, control, n, "", name)
    return figures, small


def _group_figures(made: Set, real: Set, generator: np.random.Generator, intervals: bool) -> dict[str, Interval]:
    found = {"Frechet distance": frechet_interval(made, real, generator, intervals)}
    found |= kernel_figures(made, real, generator, intervals)
    return {name: found[name] for name in GROUP_FIGURES}


def _single(
    name: str, suffix: str, found: Interval, n: int, floor: float | None, control: float | None, better: Better = "high"
) -> Figure:
    return Figure(name + suffix, found.value, _known(found.low), _known(found.high), n, "", better, floor, control)


def _known(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _picture(context: Context, section: Section, grouped: list[Figure]) -> None:
    generator = context.generator("map")
    made, real, _ = _sets(context, context.network)
    cut = [part.cut(min(SHOWN, len(part.vectors)), generator).vectors for part in (real, made)]
    picture = feature_map(dict(zip(("real", "synthetic"), cut, strict=True)))
    section.plots.append(
        Plot(f"Features of {context.network.name} on the real set's two strongest components", picture)
    )
    kid = [figure for figure in grouped if figure.name == "KID"]
    if kid:
        section.plots.append(
            Plot("KID by subset, at equal numbers; the control is synthetic images of others", bars(kid, "KID"))
        )
