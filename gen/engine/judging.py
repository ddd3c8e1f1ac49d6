"""What is measured of the shipped judges on held-out images, through the door of their users, and how cards say it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch import Tensor

from gen.data.index import read_index
from gen.data.labelled import LEAST, LabelledImages, known_by_source, load_labelled
from gen.data.segmented import STRUCTURES, SegmentedImages, load_segmented
from gen.engine.contrastive import prompt_figures
from gen.engine.reading import auroc, auroc_interval, reading_figures
from gen.engine.segmentation import dice, load_phantoms, overlays
from gen.errors import UserError
from gen.judges.alignment import ImageText
from gen.judges.lungs import LungSegmenter, chest_measures
from gen.judges.reader import Reader
from gen.models.classifier import Outputs

SIDE = 256  # pixels of the images that are measured
IN_A_ROW = 8  # images of the picture
PARTS = ("val", "test", "external")
OF_VIEWS = ("view_right", "images")


def parts_of(rows: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Held-out rows that may be shared, and all rows that may not and so were never trained on."""
    ours = rows["may_ship"].astype(bool)
    held_out = {name: rows[ours & (rows["split"] == name)] for name in PARTS[:2]}
    return {name: part for name, part in (held_out | {"external": rows[~ours]}).items() if len(part)}


# ---- reader -----------------------------------------------------------------------------------------------------


def measure_reader(reader: Reader, index: Path, config: dict, phantoms: Path | None) -> tuple[dict, str]:
    """Figures by part, of phantoms too, and the same as tables for the card.

    A network that learned views alone is measured of nothing else.
    """
    rows = read_index(index)
    train = rows[rows["may_ship"].astype(bool) & (rows["split"] == "train")]
    known = known_by_source(train, min(config.get("least_positives", LEAST), LEAST))
    figures: dict[str, dict[str, float]] = {}
    tables: list[str] = []
    drawn = {} if phantoms is None else {"phantoms": read_index(phantoms)}
    for name, part in (parts_of(rows) | drawn).items():
        images = load_labelled(part, reader.labels, reader.views, SIDE, known)
        outputs = outputs_of(reader, images)
        found = reading_figures(outputs, images, reader.labels) | {"images": len(images)}
        found |= views_right(outputs, images, reader.views)
        figures[name] = found if reader.labels else {key: found[key] for key in found if key.startswith(OF_VIEWS)}
        tables.append(general_table(name, figures[name]))
        if reader.labels and name in PARTS[:2]:
            tables.append(findings_table(name, outputs, images, reader.labels))
    return figures, "\n\n".join(tables)


def outputs_of(reader: Reader, images: LabelledImages) -> Outputs:
    """A reading in the classifier's terms: probabilities as logits, which keeps every order and every sign."""
    reading = reader.read(images.images.float() / 127.5 - 1)
    logits = (torch.logit(values, 1e-7) for values in (reading.findings, reading.sex_female, reading.child))
    findings, sex, child = logits
    return Outputs(findings, reading.view, sex, child, reading.age, reading.features)


def views_right(outputs: Outputs, images: LabelledImages, views: tuple[str, ...]) -> dict[str, float]:
    """Share of each view's images that are read as that view."""
    found = outputs.view.argmax(1)
    counts = {view: images.view == number for number, view in enumerate(views)}
    return {f"view_right {v}": float((found == images.view)[of].float().mean()) for v, of in counts.items() if of.any()}


def general_table(name: str, figures: dict[str, float]) -> str:
    """What is not a finding."""
    lines = [f"| {name}, {figures['images']} images | |", "|---|---|"]
    wanted = {"auroc": "mean AUROC", "view_right": "view right", "sex_right": "sex right", "child_right": "child right"}
    wanted |= {key: f"view right, {key.split(' ', 1)[1]}" for key in figures if key.startswith("view_right ")}
    lines += [f"| {text} | {figures[key]:.3f} |" for key, text in wanted.items() if key in figures]
    if "age_error" in figures:
        lines.append(f"| mean error of age | {figures['age_error']:.1f} years |")
    return "\n".join(lines)


def findings_table(name: str, outputs: Outputs, images: LabelledImages, labels: tuple[str, ...]) -> str:
    """AUROC of every finding with its interval."""
    lines = [f"| finding, {name} | AUROC | 95 % | positives | of |", "|---|---|---|---|---|"]
    for k, label in enumerate(labels):
        truth, scores = images.findings[:, k], outputs.findings[:, k]
        if np.isnan(value := auroc(scores, truth)):
            continue
        low, high = auroc_interval(scores, truth, images.patients)
        numbers = f"{int((truth == 1).sum())} | {int((~truth.isnan()).sum())}"
        lines.append(f"| {label} | {value:.3f} | {low:.2f} to {high:.2f} | {numbers} |")
    return "\n".join(lines)


# ---- lungs ------------------------------------------------------------------------------------------------------


def measure_lungs(segmenter: LungSegmenter, index: Path, _: dict, phantoms: Path | None) -> tuple[dict, str]:
    """Dice by source and part, of phantoms too, and what the cardiothoracic ratio tells; the same as a table."""
    rows = read_index(index)
    figures: dict[str, dict[str, float]] = {}
    for name, part in parts_of(rows).items():
        for source, some in part.groupby("source"):
            try:
                images = load_segmented(index, some, SIDE)
            except UserError:
                continue  # a source without masks
            figures[f"{name} {source}"] = dice_figures(segmenter, images)
    if phantoms is not None:
        figures["phantoms"] = dice_figures(segmenter, load_phantoms(phantoms, SIDE))
    figures["cardiothoracic"] = cardiothoracic_figures(segmenter, parts_of(rows))
    lines = ["| images | number | lungs Dice | worst | heart Dice |", "|---|---|---|---|---|"]
    lines += [dice_line(name, of) for name, of in figures.items() if name != "cardiothoracic"]
    lines += ["", *(f"cardiothoracic: {name} {value:.3f}" for name, value in figures["cardiothoracic"].items())]
    return figures, "\n".join(lines)


def dice_figures(segmenter: LungSegmenter, images: SegmentedImages) -> dict[str, float]:
    """Mean and worst Dice a structure."""
    values = dice(masks_of(segmenter, images.images), images.masks)
    figures: dict[str, float] = {"images": len(images)}
    for number, name in enumerate(STRUCTURES):
        told = values[:, number][~values[:, number].isnan()]
        if len(told):
            figures |= {name: float(told.mean()), f"{name} worst": float(told.min())}
    return figures


def masks_of(segmenter: LungSegmenter, images: Tensor) -> Tensor:
    """Probabilities. Shapes: uint8 [N, 1, S, S] -> [N, 2, S, S]."""
    return segmenter.masks(images.float() / 127.5 - 1)


def dice_line(name: str, of: dict[str, float]) -> str:
    """One row of the card's table."""
    cells = [f"{of[key]:.3f}" if key in of else "" for key in ("lungs", "lungs worst", "heart")]
    return f"| {name} | {of['images']} | {' | '.join(cells)} |"


def cardiothoracic_figures(segmenter: LungSegmenter, parts: dict[str, pd.DataFrame]) -> dict[str, float]:
    """AUROC of the cardiothoracic ratio for cardiomegaly among held-out PA views of one source."""
    rows = pd.concat([parts[name] for name in PARTS[:2] if name in parts])
    rows = rows[(rows["view"] == "PA") & (rows["source"] == "nih_cxr14")]
    if rows.empty:
        return {}
    images = load_labelled(rows, ("Cardiomegaly",), ("PA",), SIDE)
    ratio = chest_measures(masks_of(segmenter, images.images))["cardiothoracic_ratio"].nan_to_num(0)
    truth = images.findings[:, 0]
    low, high = auroc_interval(ratio, truth, images.patients)
    medians = {f"median {word}": float(ratio[truth == value].median()) for word, value in (("with", 1), ("without", 0))}
    return {"auroc": auroc(ratio, truth), "low": low, "high": high, **medians, "images": len(images)}


def draw_lungs(segmenter: LungSegmenter, index: Path, path: Path) -> None:
    """A picture of outlines on held-out images, for the eye only: not part of the folder."""
    rows = [part.groupby("source").head(4) for part in parts_of(read_index(index)).values()]
    images = load_labelled(pd.concat(rows), (), ("PA",), SIDE).images
    rest = torch.zeros(-len(images) % IN_A_ROW, *images.shape[1:], dtype=images.dtype)
    strips = [
        np.asarray(overlays(part, masks_of(segmenter, part))) for part in torch.cat([images, rest]).split(IN_A_ROW)
    ]
    Image.fromarray(np.concatenate(strips)).save(path)


# ---- image and text ---------------------------------------------------------------------------------------------


def measure_clip(judge: ImageText, index: Path, _: dict, __: Path | None) -> tuple[dict, str]:
    """Alignment with canonical prompts by part, beside what chance gives; the same as a table."""
    figures = {}
    for name, part in parts_of(read_index(index)).items():
        images = load_labelled(part, (), (), SIDE)
        figures[name] = prompt_figures(judge, images, part.to_dict("records"))
    names = [name for name in next(iter(figures.values())) if name != "images"]
    heads = ["", *(f"{name}, {int(of['images'])} images" for name, of in figures.items())]
    lines = [f"| {' | '.join(heads)} |"]
    lines += ["|---" * (len(figures) + 1) + "|"]
    lines += [f"| {name} | {' | '.join(f'{of[name]:.3f}' for of in figures.values())} |" for name in names]
    return figures, "\n".join(lines)
