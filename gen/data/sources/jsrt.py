"""JSRT (Shiraishi et al. 2000): 247 images, 154 with a nodule, and bone-suppressed twins (BSE_JSRT).

Layouts: the society's Nodule154images/JPCLN001.IMG and NonNodule93images/JPCNN001.IMG (or All247images/), raw 2048 x
2048 big-endian 12-bit, with CLNDAT_EN.txt and CNNDAT_EN.TXT; or PNG copies in JSRT/, with targets of the same name in
BSE_JSRT/. The tables' columns differ from the society's guide: sex and age are found by their form. A nodule's box is
the circle of its stated diameter at 0.175 mm a pixel. JSRT and its copies are stored with dark or bright bone,
depending on who exported them: cxr-index check tells, and targets must have the polarity of their images.
"""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd

from gen.data.sources.adapter import Adapter, Tables
from gen.data.sources.layout import complete, find_any
from gen.errors import UserError

SOURCE = "jsrt"
LICENCE = "JSRT database terms (research; no redistribution)"
NAME = re.compile(r"JPC[LN]N\d{3}", re.I)
SUFFIXES = (".img", ".png", ".jpg", ".tif", ".tiff")
SIDE = 2048  # pixels
MM_A_PIXEL = 0.175
RECORD = re.compile(r"(JPC[LN]N\d{3})\.IMG\s(.*?)(?=JPC[LN]N\d{3}\.IMG|\Z)", re.S | re.I)
NODULE = re.compile(r"^\s*(\d)\s+(\d+)\s+(\d+|\?)\s+(male|female)\s+(\d+)\s+(\d+)", re.I)


def read(folder: Path) -> Tables:
    """Index rows, with `soft` where a bone-suppressed twin exists, and the nodules' boxes."""
    paths = sorted(path.absolute() for path in folder.rglob("*") if NAME.fullmatch(path.stem) and _is_image(path))
    targets = {path.stem.upper(): str(path) for path in paths if _is_target(path, folder)}
    images = {path.stem.upper(): str(path) for path in reversed(paths) if not _is_target(path, folder)}
    if not images:
        raise UserError(f"{folder}: no JPCLN001 or JPCNN001 images; give the folder that holds JSRT's images")
    records = _records(folder)
    names = sorted(images)
    rows = pd.DataFrame(
        {
            "image": [images[name] for name in names],
            "patient_id": [f"jsrt_{name}" for name in names],
            "study_id": [f"jsrt_{name}" for name in names],
            "view": "PA",
            "sex": [_group(r"\b(male|female)\b", records.get(name, "")) for name in names],
            "age": [_age(records.get(name, "")) for name in names],
            "findings": ["Nodule" if name.startswith("JPCL") else "" for name in names],
        }
    )
    if targets:
        rows["soft"] = [targets.get(name, "") for name in names]
    return Tables(complete(rows, SOURCE, LICENCE), _boxes(images, records))


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES


def _is_target(path: Path, folder: Path) -> bool:
    return any(part.upper().startswith("BSE") for part in path.relative_to(folder.absolute()).parts[:-1])


def _records(folder: Path) -> dict[str, str]:
    """Image name -> the rest of its line; lines of the society's tables run into one another."""
    texts = {}
    for pattern in ("**/CLNDAT*.[tT][xX][tT]", "**/CNNDAT*.[tT][xX][tT]"):
        path = find_any(folder, pattern)
        text = path.read_text(errors="replace") if path else ""
        texts |= {match[1].upper(): match[2] for match in RECORD.finditer(text)}
    return texts


def _group(pattern: str, text: str) -> str:
    match = re.search(pattern, text, re.I)
    return match[1] if match else ""


def _age(text: str) -> str:
    return _group(r"(\d{1,3})\s+(?:male|female)\b", text)


def _boxes(images: dict[str, str], records: dict[str, str]) -> pd.DataFrame | None:
    found = ((name, NODULE.match(text)) for name, text in sorted(records.items()) if name in images)
    boxes = [_box(images[name], match) for name, match in found if match]
    return pd.DataFrame(boxes) if boxes else None


def _box(image: str, nodule: re.Match) -> dict:
    radius = float(nodule[2]) / MM_A_PIXEL / 2
    x, y = (float(number) * _scale(image) for number in nodule.group(5, 6))
    radius *= _scale(image)
    corners = {"x0": x - radius, "y0": y - radius, "x1": x + radius, "y1": y + radius}
    return {"image": image, "label": "Nodule", **corners, "reader": ""}


def _scale(image: str) -> float:
    from PIL import Image

    if image.lower().endswith(".img"):
        return 1.0
    with Image.open(image) as opened:
        return opened.width / SIDE


ADAPTER = Adapter(
    read=read,
    title="JSRT with bone-suppressed targets",
    access="JSRT, registration; targets by the authors or Kaggle",
    licence=LICENCE,
    telltales=("BSE_JSRT", "*/JPCLN001.*", "JPCLN001.*", "CLNDAT*"),
)
