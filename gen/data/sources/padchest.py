"""PadChest (Bustos et al. 2020): 160,861 images of 67,625 patients, 16-bit PNG, six projections, reports in Spanish.

Layout of BIMCV: PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv(.gz) and folders 0 to 54 of images (`ImageDir`),
or all images in one folder. The column Labels holds English terms ("['pleural effusion', 'cardiomegaly']"); the
Spanish report, cut to word stems by the distributor, goes into `report_es` and not into the prompts' `report`. No
official split. Not known here: whether the PNGs of MONOCHROME1 files were turned over; cxr-index check finds images
with dark bone.
"""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd

from gen.data.sources.adapter import Adapter, Tables
from gen.data.sources.layout import complete, days_from_first, find, images_by_name, placed, plausible_ages, read_csv

SOURCE = "padchest"
LICENCE = "PadChest Dataset Research Use Agreement (BIMCV)"
TABLE = "PADCHEST_chest_x_ray_images_labels_160K*.csv*"
COLUMNS = (
    "ImageID",
    "StudyDate_DICOM",
    "StudyID",
    "PatientID",
    "PatientBirth",
    "PatientSex_DICOM",
    "Projection",
    "Labels",
)
DROPPED_VIEWS = ("COSTAL", "EXCLUDE")  # rib views and what is no chest radiograph
NOT_FINDINGS = ("", "exclude", "unchanged", "suboptimal study")
NAMES = {
    "infiltrates": "Infiltration",
    "pulmonary mass": "Mass",
    "alveolar pattern": "Lung Opacity",
    "ground glass pattern": "Lung Opacity",
    "rib fracture": "Fracture",
    "clavicle fracture": "Fracture",
    "vertebral fracture": "Fracture",
    "multiple nodules": "Nodule",
    "apical pleural thickening": "Pleural Thickening",
    "laminar atelectasis": "Atelectasis",
    "lobar atelectasis": "Atelectasis",
    "total atelectasis": "Atelectasis",
    "hydropneumothorax": "Pneumothorax;Pleural Effusion",
    "loculated pleural effusion": "Pleural Effusion",
    "loculated fissural effusion": "Pleural Effusion",
    "atypical pneumonia": "Pneumonia",
    "mediastinal enlargement": "Enlarged Cardiomediastinum",
    "superior mediastinal enlargement": "Enlarged Cardiomediastinum",
}
DEVICES = re.compile(r"\b(?:tube|catheter|pacemaker|device|electrode|stent|reservoir|heart valve|prosthesis)\b")


def read(folder: Path) -> Tables:
    """Index rows without rib views; age is the study's year less the year of birth."""
    table = read_csv(find(folder, TABLE, f"*/{TABLE}"), COLUMNS)
    table = table[~table["Projection"].isin(DROPPED_VIEWS)].reset_index(drop=True)
    table = table[table["ImageID"].str.lower().str.endswith(".png")].reset_index(drop=True)
    times = pd.to_datetime(table["StudyDate_DICOM"], format="%Y%m%d", errors="coerce")
    births = pd.to_numeric(table["PatientBirth"], errors="coerce")
    patients = table["PatientID"].where(table["PatientID"] != "", table["StudyID"])
    rows = pd.DataFrame(
        {
            "image": placed(table["ImageID"], images_by_name(folder, (".png",)), folder),
            "patient_id": patients,
            "study_id": table["StudyID"],
            "view": table["Projection"],
            "sex": table["PatientSex_DICOM"],
            "age": plausible_ages(times.dt.year - births),
            "findings": [findings(labels) for labels in table["Labels"]],
            "report_es": table.get("Report", ""),
            "offset_days": days_from_first(patients, times),
        }
    )
    return Tables(complete(rows, SOURCE, LICENCE))


def findings(labels: str) -> str:
    """The terms of "['a', 'b']" under the suite's names where it has them, joined by ";"."""
    terms = (" ".join(term.split()) for term in re.findall(r"'([^']*)'", labels))
    kept = [term for term in terms if term not in NOT_FINDINGS]
    return ";".join(
        dict.fromkeys("Support Devices" if DEVICES.search(term) else NAMES.get(term, term) for term in kept)
    )


ADAPTER = Adapter(
    read=read,
    title="PadChest",
    access="BIMCV, request form",
    licence=LICENCE,
    telltales=(TABLE, f"*/{TABLE}"),
)
