"""CheXpert Plus (Chambon et al. 2024): CheXpert's images with their reports, sections and more demographics.

Layout of Stanford AIMI: df_chexpert_plus_240401.csv; images as PNG/train/patient00001/study1/view1_frontal.png (or
CheXpert's .jpg), found below PNG/, PNG_train/ or the folder itself; CheXbert labels as JSON lines, report_fixed.json
or impression_fixed.json, in the folder or chexbert_labels/. How AIMI nests the image folders changed between releases,
so several places are tried. `patient_report_date_order` gives the order of a patient's studies, without dates.
"""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd

from gen.data.sources.adapter import Adapter, Tables
from gen.data.sources.chexpert import paths_as_ids
from gen.data.sources.layout import CHEXPERT_LABELS, complete, find, find_any, one_hot_findings, read_csv
from gen.errors import UserError

SOURCE = "chexpert_plus"
LICENCE = "Stanford University Dataset Research Use Agreement (non-commercial)"
COLUMNS = ("path_to_image", "frontal_lateral", "ap_pa", "deid_patient_id", "report", "age", "sex", "split")
IMAGE_ROOTS = ("PNG", "PNG_train", "PNG_valid", "")
SECTIONS = {"section_findings": "FINDINGS", "section_impression": "IMPRESSION"}


def read(folder: Path) -> Tables:
    """Index rows with reports; `findings` only where CheXbert's label files are present."""
    table = read_csv(find(folder, "df_chexpert_plus_*.csv"), COLUMNS)
    rows = pd.DataFrame(
        {
            "image": [_image(folder, path) for path in table["path_to_image"]],
            **paths_as_ids(table["path_to_image"]),
            "view": table["ap_pa"].where(table["frontal_lateral"].str.lower() != "lateral", "LATERAL"),
            "sex": table["sex"],
            "age": table["age"].where(pd.to_numeric(table["age"], errors="coerce") > 0, ""),
            "report": table["report"].where(table["report"] != "", _from_sections(table)),
            "split": table["split"],
            **_labels(folder, table["path_to_image"]),
        }
    )
    if "patient_report_date_order" in table:
        rows["followup_number"] = pd.to_numeric(table["patient_report_date_order"], errors="coerce")
    return Tables(complete(rows, SOURCE, LICENCE))


def _image(folder: Path, listed: str) -> str:
    names = (Path(listed).with_suffix(".png"), Path(listed))
    places = (folder.absolute() / root / name for root in IMAGE_ROOTS for name in names)
    return str(next((place for place in places if place.is_file()), folder.absolute() / "PNG" / names[0]))


def _from_sections(table: pd.DataFrame) -> pd.Series:
    present = {column: title for column, title in SECTIONS.items() if column in table}
    text = pd.Series("", index=table.index)
    for column, title in present.items():
        text += (f"{title}: " + table[column] + "\n").where(table[column] != "", "")
    return text.str.strip()


def _labels(folder: Path, paths: pd.Series) -> dict[str, pd.Series]:
    names = ("report_fixed.json", "impression_fixed.json")
    path = find_any(folder, *(f"{place}{name}" for name in names for place in ("", "chexbert_labels/")))
    if path is None:
        return {}
    table = _json_lines(path)
    findings, uncertain = one_hot_findings(table, CHEXPERT_LABELS)
    columns = {"findings": findings, "uncertain": uncertain}
    keys = table["path_to_image"]
    return {name: paths.map(dict(zip(keys, values, strict=True))).fillna("") for name, values in columns.items()}


def _json_lines(path: Path) -> pd.DataFrame:
    try:
        table = pd.DataFrame([json.loads(line) for line in path.read_text().splitlines() if line.strip()])
    except ValueError as error:
        raise UserError(f"{path}: not JSON lines ({error}); download it again") from None
    if "path_to_image" not in table:
        raise UserError(f"{path}: key 'path_to_image' is missing; is this CheXbert's label file of CheXpert Plus?")
    return table.reindex(columns=["path_to_image", *CHEXPERT_LABELS])


ADAPTER = Adapter(
    read=read,
    title="CheXpert Plus (reports)",
    access="Stanford AIMI, registration",
    licence=LICENCE,
    telltales=("df_chexpert_plus_*.csv",),
)
