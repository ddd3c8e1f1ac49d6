"""Whether suppressing bones leaves disease alone: findings before and after, and what changed off the bones.

Findings come from boxes beside an index of real radiographs or from the masks of phantoms; where a soft-tissue image is
known, so is where no bone lies: where it equals the radiograph.
"""

from __future__ import annotations

import csv
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.ndimage import binary_dilation, gaussian_filter
from tqdm import tqdm

from gen.data.annotations import read_beside
from gen.data.images import read_image
from gen.data.index import read_index
from gen.data.tables import read_parquet
from gen.errors import UserError

from . import labels
from .resampling import DRAWS, as_figure, cluster_counts, difference, estimate, told
from .section import BAD, GOOD, UNCLEAR, Section, Table, Verdict

TOLERANCE = 2 / 255  # of brightness: what may change where no bone lies
NO_BONE = 0.5 / 255  # a soft-tissue image nearer to the radiograph than this shows no bone there
RING = 0.35  # of a finding's own side: width of the surroundings that it is compared with
LEAST = 30  # pixels of a finding
FAINT = 1e-3  # least spread of the surroundings


def measure_preservation(run: Path, index: Path, draws: int = DRAWS, seed: int = 0) -> Section:
    """Judge a folder of `cxr-sample bone` by its index: phantoms with masks and findings, or radiographs with boxes.

    Errors: UserError for a folder or an index without what is needed.
    """
    rows = read_index(index)
    outputs = outputs_of(run)
    rows = rows[rows["image"].isin(list(outputs))]
    if rows.empty:
        raise UserError(f"{run}: holds no soft-tissue image of a radiograph of {index}; run cxr-sample bone on it")
    regions = phantom_regions(index) if "masks" in rows else box_regions(index)
    found = [
        measured
        for record in tqdm(rows.to_dict("records"), desc="images", unit="", disable=None)
        for measured in of_image(record, outputs[record["image"]], regions.get(record["image"], []))
    ]
    if not found:
        raise UserError(f"{run}: none of its radiographs has a box or mask of a finding, or a soft-tissue image")
    return summary(pd.DataFrame(found), draws, seed)


def outputs_of(run: Path) -> dict[str, str]:
    """Soft-tissue image of every radiograph of a run, by the radiograph's path."""
    path = run / "manifest.csv"
    if not path.is_file():
        raise UserError(f"{path}: no such manifest; give the folder that cxr-sample bone has written")
    with path.open(newline="") as file:
        return {row["source"]: str(run / row["file"]) for row in csv.DictReader(file) if row["file"]}


Region = tuple[str, np.ndarray | tuple[float, float, float, float] | tuple[Path, str]]


def phantom_regions(index: Path) -> dict[str, list[Region]]:
    """Findings of phantoms by image: their kind and, until it is read, the file and name of their mask."""
    table = read_parquet(index.parent / "findings.parquet", "make the phantoms again")
    folder, regions = index.parent.absolute(), {}
    for image, kind, name, pixels in zip(table["image"], table["kind"], table["name"], table["pixels"], strict=True):
        if pixels >= LEAST:
            mask = folder / "masks" / Path(image).name
            regions.setdefault(str(folder / image), []).append((kind, (mask, name)))
    return regions


def box_regions(index: Path) -> dict[str, list[Region]]:
    """Findings of radiographs by image: label and box."""
    regions: dict[str, list[Region]] = {}
    boxes = read_beside(index, "boxes")
    for image, label, *box in boxes[["image", "label", "x0", "y0", "x1", "y1"]].itertuples(index=False):
        regions.setdefault(image, []).append((label, tuple(box)))
    return regions


def of_image(record: dict, output: str, regions: list[Region]) -> list[dict]:
    """One row a finding, or one for an image without; `changed` where the soft-tissue image is known."""
    before, after = read_image(record["image"]), read_image(output)
    common: dict = {"patient": record["patient_id"], "kind": ""}
    if isinstance(record.get("soft"), str) and record["soft"]:
        common |= off_bone(before, read_image(record["soft"]), after)
    rows = []
    for kind, where in regions:
        mask = as_mask(where, before.shape)
        if mask.sum() >= LEAST and not mask.all():
            rows.append({**common, "kind": kind, **contrasts(before, after, mask)})
    return rows or ([common] if len(common) > 2 else [])


def as_mask(where: object, shape: tuple[int, ...]) -> np.ndarray:
    """A region as a mask of the image."""
    if isinstance(where, tuple) and isinstance(where[0], Path):
        from gen.phantom.cohort import read_mask

        return read_mask(where[0], str(where[1]))
    x0, y0, x1, y1 = where  # pyright: ignore[reportGeneralTypeIssues]
    mask = np.zeros(shape, dtype=bool)
    mask[max(0, round(y0)) : max(0, round(y1)), max(0, round(x0)) : max(0, round(x1))] = True
    return mask


def off_bone(before: np.ndarray, soft: np.ndarray, after: np.ndarray) -> dict[str, float]:
    """What changed where no bone lies: share of pixels beyond the tolerance, and the mean change in grey levels of 255.

    Shapes: [H, W] in 0..1 each.
    """
    free = np.abs(before - soft) < NO_BONE
    change = np.abs(after - before)[free]
    if not change.size:
        return {"beyond": float("nan"), "change": float("nan")}
    return {"beyond": float((change > TOLERANCE).mean()), "change": float(255 * change.mean())}


def contrasts(before: np.ndarray, after: np.ndarray, mask: np.ndarray) -> dict[str, float]:
    """A finding's contrast and contrast-to-noise ratio against its surroundings, before and after. Shapes: [H, W]."""
    ring = surroundings(mask)
    found = {}
    for name, image in (("before", before), ("after", after)):
        inside, around = image[mask], image[ring]
        contrast = float(inside.mean() - around.mean())
        found[f"contrast {name}"] = contrast
        found[f"cnr {name}"] = abs(contrast) / max(float(around.std()), FAINT)
    # detail within the finding itself: what ribs do not explain must stay
    found["detail kept"] = correlation(_detail(before)[mask], _detail(after)[mask])
    return found


def surroundings(mask: np.ndarray) -> np.ndarray:
    """A ring about a mask, as wide as a third of its own size and at least two pixels. Shapes: [H, W] bool."""
    width = max(2, round(RING * np.sqrt(mask.sum())))
    return binary_dilation(mask, iterations=width) & ~binary_dilation(mask, iterations=1)


def correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Pearson's; NaN where one of them is even."""
    if first.std() == 0 or second.std() == 0:
        return float("nan")
    return float(np.corrcoef(first, second)[0, 1])


def _detail(image: np.ndarray) -> np.ndarray:
    return image - gaussian_filter(image, max(image.shape) / 128)


def summary(found: pd.DataFrame, draws: int = DRAWS, seed: int = 0) -> Section:
    """Means with intervals by patients, and contrast-to-noise after less before, paired."""
    section = Section("bone-findings", "What bone suppression leaves alone")
    if "beyond" in found:
        _off_bone_figures(section, found[found["beyond"].notna()].drop_duplicates(["patient", "beyond"]), draws, seed)
    kinds = found[found["kind"] != ""]
    groups = [("", kinds), *kinds.groupby("kind")] if len(kinds) else []
    rows = []
    for kind, part in groups:
        weights = cluster_counts(part["patient"].to_numpy(), draws, seed)
        means = {name: partial(labels.mean, part[name].to_numpy(dtype=float)) for name in part if _measured(name)}
        for name, mean in means.items():
            section.figures.append(as_figure(name, estimate(mean, weights), len(part), group=kind, better="high"))
        gain = difference(means["cnr after"], means["cnr before"], weights)
        rows.append((kind or "all findings", str(len(part)), *told(gain)))
        if not kind:
            section.verdicts.append(_verdict(gain.low, gain.high, len(part)))
    header = ("finding", "n", "difference", "95 % interval", "p")
    section.tables.append(Table("Contrast-to-noise ratio, after minus before, paired", header, rows))
    return section


def _measured(name: object) -> bool:
    return str(name).startswith(("contrast ", "cnr ", "detail "))


def _off_bone_figures(section: Section, part: pd.DataFrame, draws: int, seed: int) -> None:
    weights = cluster_counts(part["patient"].to_numpy(), draws, seed)
    titles = {"beyond": f"share off the bones changed by more than {255 * TOLERANCE:.0f} of 255"}
    titles["change"] = "mean change off the bones"
    for name, title in titles.items():
        mean = partial(labels.mean, part[name].to_numpy(dtype=float))
        unit = "grey levels" if name == "change" else ""
        section.figures.append(as_figure(title, estimate(mean, weights), len(part), unit=unit, better="low"))


def _verdict(low: float, high: float, count: int) -> Verdict:
    if low > 0:
        return Verdict(GOOD, "Findings stand out more from their surroundings once the bones are gone.")
    if high < 0:
        return Verdict(BAD, "Findings stand out less than before: some of them went with the bones.")
    return Verdict(UNCLEAR, f"{count} findings cannot tell whether they stand out more or less than before.")
