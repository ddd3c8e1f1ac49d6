"""Open-i / Indiana University (Demner-Fushman et al. 2016): 7,470 images, 3,955 reports, frontal and lateral.

Layouts: NLM's NLMCXR_reports (ecgen-radiology/1.xml ...) with NLMCXR_png or NLMCXR_dcm, which does not say which image
is frontal, so that views are UNKNOWN unless the caption names one alone; or Kaggle's pair indiana_reports.csv and
indiana_projections.csv with images/images_normalized/. One report counts as one patient: the set has no patient ids.
No official split; a splits.csv (uid, split) in the folder is kept. Findings are the manual codes (MeSH, "Problems").
"""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

import pandas as pd

from gen.data.sources.adapter import Adapter, Tables
from gen.data.sources.layout import complete, find, find_any, images_by_name, placed, read_csv
from gen.errors import UserError

SOURCE = "openi"
LICENCE = "CC BY-NC-ND 4.0 (Open-i, Indiana University)"
SECTIONS = ("comparison", "indication", "findings", "impression")
NAMES = {"pulmonary atelectasis": "Atelectasis", "pulmonary edema": "Edema", "pulmonary emphysema": "Emphysema"}
NAMES |= {"fractures, bone": "Fracture", "hernia, hiatal": "Hernia", "airspace disease": "Lung Opacity"}
NAMES |= {"infiltrate": "Infiltration", "pulmonary fibrosis": "Fibrosis"}
DEVICES = ("medical device", "implanted medical device", "catheters, indwelling", "tube, inserted", "stents")
NAMES |= dict.fromkeys(DEVICES, "Support Devices")
# codes name a site and then what is wrong there ("Lung/hypoinflation"): the site alone is no finding
SITES = (
    "lung",
    "thoracic vertebrae",
    "spine",
    "aorta",
    "aorta, thoracic",
    "diaphragm",
    "costophrenic angle",
    "cardiac shadow",
)
SITES += (
    "mediastinum",
    "shoulder",
    "pulmonary artery",
    "lumbar vertebrae",
    "heart",
    "ribs",
    "trachea",
    "pleura",
    "markings",
)
SITES += ("technical quality of image unsatisfactory", "no indexing")


def read(folder: Path) -> Tables:
    """Index rows with the report under its headings."""
    xml = find_any(folder, "ecgen-radiology", "NLMCXR_reports/ecgen-radiology", "*/ecgen-radiology")
    table = _from_xml(xml) if xml else _from_csv(folder)
    images = images_by_name(folder, (".png", ".jpg", ".dcm"))
    table["image"] = placed(table["image"], images | _without_suffixes(images), folder)
    table["patient_id"] = "openi_" + table["uid"]
    splits = find_any(folder, "splits.csv")
    if splits:
        known = read_csv(splits, ("uid", "split")).set_index("uid")["split"]
        table["split"] = table["uid"].map(known)
    return Tables(complete(table.drop(columns="uid"), SOURCE, LICENCE))


def findings(codes: str) -> str:
    """Manual codes ("Cardiomegaly/mild;Fractures, Bone/ribs;normal") by their first part, joined by ";"."""
    terms = [code.split("/")[0].strip() for code in codes.split(";")]
    kept = (term for term in terms if term and term.lower() not in SITES)
    return ";".join(dict.fromkeys(NAMES.get(term.lower(), term.replace(",", "")) for term in kept))


def _from_csv(folder: Path) -> pd.DataFrame:
    reports = read_csv(find(folder, "indiana_reports.csv"), ("uid", "MeSH", *SECTIONS)).set_index("uid")
    images = read_csv(find(folder, "indiana_projections.csv"), ("uid", "filename", "projection"))
    images = images[images["uid"].isin(reports.index)].reset_index(drop=True)
    texts = {uid: _report({name: row[name] for name in SECTIONS}) for uid, row in reports.iterrows()}
    codes = {uid: findings(text) for uid, text in reports["MeSH"].items()}
    return pd.DataFrame(
        {
            "uid": images["uid"],
            "image": images["filename"],
            "study_id": "openi_" + images["uid"],
            "view": images["projection"],  # "Frontal" does not tell PA from AP
            "findings": images["uid"].map(codes),
            "report": images["uid"].map(texts),
        }
    )


def _from_xml(folder: Path) -> pd.DataFrame:
    rows = [row for path in sorted(folder.glob("*.xml")) for row in _xml_rows(path)]
    if not rows:
        raise UserError(f"{folder}: holds no XML reports with images; unpack NLMCXR_reports.tgz again")
    return pd.DataFrame(rows)


def _xml_rows(path: Path) -> list[dict[str, str]]:
    try:
        root = ElementTree.parse(path).getroot()
    except ElementTree.ParseError as error:
        raise UserError(f"{path}: not a readable XML report ({error}); unpack NLMCXR_reports.tgz again") from None
    texts = {str(node.get("Label", "")).lower(): (node.text or "").strip() for node in root.iter("AbstractText")}
    codes = ";".join(node.text or "" for node in root.iter("major"))
    uid = path.stem
    shared = {"uid": uid, "study_id": f"openi_{uid}", "findings": findings(codes), "report": _report(texts)}
    images = ((node.get("id", ""), node.findtext("caption") or "") for node in root.iter("parentImage"))
    return [{"image": image, "view": _view(caption), **shared} for image, caption in images if image]


def _view(caption: str) -> str:
    named = {word.upper() for word in re.findall(r"\b(PA|AP|lateral)\b", caption, re.I)}
    return named.pop() if len(named) == 1 else ""


def _report(sections: dict[str, str]) -> str:
    return "\n".join(f"{name.upper()}: {sections[name]}" for name in SECTIONS if sections.get(name))


def _without_suffixes(images: dict[str, str]) -> dict[str, str]:
    return {name.split(".")[0]: path for name, path in images.items()}


ADAPTER = Adapter(
    read=read,
    title="Open-i, Indiana University",
    access="open (NLM; Kaggle for the CSV pair)",
    licence=LICENCE,
    telltales=("indiana_reports.csv", "ecgen-radiology", "NLMCXR_reports/ecgen-radiology"),
)
