"""TBX11K (Liu et al. 2020): 11,200 images of 512 px: healthy, sick without tuberculosis, tuberculosis with boxes.

Layout: imgs/{health,sick,tb,test,extra}/*.png, lists/TBX11K_{train,val}.txt, annotations/json/TBX11K_{train,val}.json
(COCO). An image counts as a patient. The test images (and lists/all_test.txt) have no public labels; `extra` repeats
other sets (Montgomery, Shenzhen, DA, DB) and is left out.
"""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd

from gen.data.sources.adapter import Adapter, Tables
from gen.data.sources.layout import complete
from gen.errors import UserError

SOURCE = "tbx11k"
LICENCE = "CC BY-NC-SA (as the annotation files state)"
FINDINGS = {"health": "No Finding", "tb": "Tuberculosis", "sick": "", "test": ""}
LABELS = {
    "ActiveTuberculosis": "Active Tuberculosis",
    "ObsoletePulmonaryTuberculosis": "Latent Tuberculosis",
    "PulmonaryTuberculosis": "Tuberculosis",
}


def read(folder: Path) -> Tables:
    """Index rows in the official lists, and boxes; sick images without tuberculosis name no finding."""
    images = folder.absolute() / "imgs"
    splits = {name: split for split in ("train", "val") for name in _listed(folder, split)}
    test = sorted(path.relative_to(images).as_posix() for path in (images / "test").glob("*.png"))
    splits |= dict.fromkeys(test, "test")
    names = pd.Series(list(splits), dtype=str)
    rows = pd.DataFrame(
        {
            "image": [str(images / name) for name in names],
            "patient_id": names.str.removesuffix(".png"),
            "study_id": names.str.removesuffix(".png"),
            "view": "",
            "findings": [FINDINGS.get(name.split("/")[0], "") for name in names],
            "split": list(splits.values()),
        }
    )
    boxes = [box for split in ("train", "val") for box in _boxes(folder, images, split)]
    return Tables(complete(rows, SOURCE, LICENCE), pd.DataFrame(boxes) if boxes else None)


def _listed(folder: Path, split: str) -> list[str]:
    path = folder / "lists" / f"TBX11K_{split}.txt"
    if not path.is_file():
        raise UserError(f"{path}: not found; give the folder TBX11K with imgs/, lists/ and annotations/")
    return path.read_text().split()


def _boxes(folder: Path, images: Path, split: str) -> list[dict]:
    path = folder / "annotations" / "json" / f"TBX11K_{split}.json"
    if not path.is_file():
        return []
    try:
        content = json.loads(path.read_text())
        names = {image["id"]: image["file_name"] for image in content["images"]}
        labels = {category["id"]: category["name"] for category in content["categories"]}
        return [_box(annotation, names, labels, images) for annotation in content["annotations"]]
    except (ValueError, KeyError) as error:
        raise UserError(f"{path}: not a COCO annotation file ({error}); download it again") from None


def _box(annotation: dict, names: dict, labels: dict, images: Path) -> dict:
    x, y, w, h = annotation["bbox"]
    label = labels[annotation["category_id"]]
    image = str(images / names[annotation["image_id"]])
    corners = {"x0": float(x), "y0": float(y), "x1": float(x + w), "y1": float(y + h)}
    return {"image": image, "label": LABELS.get(label, label), **corners, "reader": ""}


ADAPTER = Adapter(
    read=read,
    title="TBX11K",
    access="open (download form)",
    licence=LICENCE,
    telltales=("lists/TBX11K_train.txt",),
)
