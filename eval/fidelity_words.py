"""What the fidelity figures say in plain words, and what their number of images cannot tell."""

from __future__ import annotations

from .context import Context
from .groups import MINIMUM
from .section import BAD, GOOD, UNCLEAR, Section, Verdict

SMALL = 1000  # images; below, distances are biased by more than most models differ


def judge(context: Context, section: Section, small: list[str]) -> None:
    """The verdicts, and notes on what the figures are."""
    kid = section.figure("KID")
    n = kid.n
    scale = max(kid.control - kid.floor, 1e-12)
    gap = (kid.value - kid.floor) / scale
    near = kid.low is not None and kid.low <= max(kid.floor, 0)
    said = f"KID {kid.value:.3g}; two real sets {kid.floor:.3g}, real ones cut in pieces {kid.control:.3g}"
    if near:
        section.verdicts.append(Verdict(GOOD, f"Not told from real radiographs by {context.network.name}: {said}."))
    else:
        words = f"The set can be told from real radiographs, {100 * gap:.0f} % of the way to broken ones: {said}."
        section.verdicts.append(Verdict(BAD if gap > 0.1 else GOOD, words))
    for name, good, bad in (
        ("precision", "Synthetic images lie among real ones", "Many synthetic images lie where no real one does"),
        ("recall", "The variety of real radiographs is reached", "Part of the variety of real radiographs is missing"),
    ):
        figure = section.figure(name)
        fine = figure.high is not None and figure.high >= 0.9 * figure.floor
        words = f"{good if fine else bad}: {name} {figure.value:.2f}, two real sets {figure.floor:.2f}."
        section.verdicts.append(Verdict(GOOD if fine else BAD, words))
    _words_on_texture(section)
    _words_on_prompts(section)
    if context.network.standing == "random":
        words = (
            f"{context.network.name} has random weights: all figures by features are a rehearsal, not a measurement."
        )
        section.verdicts.append(Verdict(UNCLEAR, words))
    if n < SMALL:
        section.verdicts.append(
            Verdict(
                UNCLEAR,
                f"{n} images a side: a Frechet distance is biased upwards at such numbers (two real sets measure "
                f"{section.figure('Frechet distance').floor:.3g}); compare at the same number only, or take the KID.",
            )
        )
    if small:
        section.verdicts.append(Verdict(UNCLEAR, f"Too few images to judge (under {MINIMUM}): {', '.join(small)}."))
    section.notes += [
        "Equal numbers on both sides of every distance. The floor is real against real of other patients, the control "
        "real radiographs cut into tiles and shuffled (for subsets: synthetic images of the other subsets).",
        "KID and CMMD are unbiased at any number and may fall below 0; their intervals resample patients and prompts. "
        "KID over subsets is the mean over 20 subsets of at most 1,000 with their spread, as other programs print it. "
        "Intervals of the Frechet distance, the Vendi and the Inception Score are those of a delete-a-group jackknife.",
        f"Features by {context.network.remark}",
    ]
    section.notes += [f"Also by {network.remark}" for network in context.networks[1:]]


def _words_on_texture(section: Section) -> None:
    """Networks forgive what histograms do not: grey levels, edges and grain are judged by themselves."""
    figure = next((figure for figure in section.figures if figure.name.startswith("Frechet radiomics")), None)
    if figure is None or figure.low is None or figure.floor is None:
        return
    said = f"Frechet radiomics distance {figure.value:.3g}, two real sets {figure.floor:.3g}"
    if figure.low <= figure.floor:
        section.verdicts.append(Verdict(GOOD, f"Grey levels and texture are not told from real ones: {said}."))
        return
    way = 100 * (figure.value - figure.floor) / max(figure.control - figure.floor, 1e-12)
    words = f"Grey levels or texture can be told from real ones, {way:.0f} % of the way to broken images: {said}."
    section.verdicts.append(Verdict(BAD, words))


def _words_on_prompts(section: Section) -> None:
    found = [figure for figure in section.figures if figure.name == "MS-SSIM within a prompt"]
    if not found:
        section.verdicts.append(
            Verdict(UNCLEAR, "Too few prompts with several images to judge variety within a prompt.")
        )
        return
    figure = found[0]
    floor = 0.0 if figure.floor is None else figure.floor
    alike = figure.low is not None and figure.low > floor + 0.05
    words = "Images of one prompt resemble one another more than" if alike else "Images of one prompt vary as much as"
    said = f"{words} radiographs of patients with the same findings: MS-SSIM {figure.value:.2f}, real {floor:.2f}."
    section.verdicts.append(Verdict(BAD if alike else GOOD, said))
