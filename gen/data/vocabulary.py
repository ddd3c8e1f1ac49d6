"""The findings that the suite knows: a label, the phrases radiologists use for it, and other data sets' names."""

from __future__ import annotations

import re
from functools import lru_cache

NO_FINDING = "No Finding"

# label -> phrases with their article; the first is the canonical one
PHRASES: dict[str, tuple[str, ...]] = {
    "Atelectasis": ("atelectasis", "atelectatic change", "volume loss from atelectasis"),
    "Cardiomegaly": ("cardiomegaly", "an enlarged heart", "an enlarged cardiac silhouette"),
    "Consolidation": ("consolidation", "airspace consolidation", "an area of consolidation"),
    "Edema": ("pulmonary edema", "pulmonary oedema", "edema of the lungs"),
    "Emphysema": ("emphysema", "emphysematous lungs", "emphysematous change"),
    "Enlarged Cardiomediastinum": ("an enlarged cardiomediastinum", "a widened mediastinum", "mediastinal widening"),
    "Fibrosis": ("pulmonary fibrosis", "fibrosis", "fibrotic change"),
    "Fracture": ("a fracture", "a rib fracture", "a fractured rib"),
    "Hernia": ("a hiatal hernia", "a hernia", "a diaphragmatic hernia"),
    "Infiltration": ("a pulmonary infiltrate", "infiltration", "an infiltrate"),
    "Lung Lesion": ("a lung lesion", "a pulmonary lesion", "a focal lung lesion"),
    "Lung Opacity": ("a lung opacity", "airspace opacity", "a pulmonary opacity"),
    "Mass": ("a lung mass", "a pulmonary mass", "a mass"),
    "Nodule": ("a lung nodule", "a pulmonary nodule", "a nodule"),
    "Pleural Effusion": ("a pleural effusion", "an effusion", "pleural fluid"),
    "Pleural Other": ("a pleural abnormality", "other pleural disease"),
    "Pleural Thickening": ("pleural thickening", "a thickened pleura"),
    "Pneumonia": ("pneumonia", "a pneumonic process"),
    "Pneumothorax": ("a pneumothorax", "a collapsed lung with pneumothorax", "pleural air"),
    "Support Devices": ("support devices", "lines and tubes", "a support device"),
    "Bacterial Pneumonia": ("bacterial pneumonia", "pneumonia of bacterial origin"),
    "Viral Pneumonia": ("viral pneumonia", "pneumonia of viral origin"),
    "Interstitial Pneumonia": ("interstitial pneumonia", "interstitial pneumonitis"),
    "Organising Pneumonia": ("organising pneumonia", "organizing pneumonia"),
    "COVID-19": ("COVID-19 pneumonia", "COVID-19", "changes of COVID-19"),
    "ARDS": ("acute respiratory distress syndrome", "ARDS"),
    "Pneumocystis Pneumonia": ("Pneumocystis pneumonia", "Pneumocystis infection"),
    "Mycoplasma Pneumonia": ("Mycoplasma pneumonia", "Mycoplasma infection"),
    "Streptococcal Pneumonia": ("streptococcal pneumonia", "pneumococcal pneumonia"),
    "Klebsiella Pneumonia": ("Klebsiella pneumonia", "Klebsiella infection"),
    "Legionella Pneumonia": ("Legionella pneumonia", "Legionella infection"),
    "E. coli Pneumonia": ("E. coli pneumonia", "Escherichia coli pneumonia"),
    "Varicella Pneumonia": ("varicella pneumonia", "chickenpox pneumonia"),
    "Influenza Pneumonia": ("influenza pneumonia", "pneumonia from influenza"),
    "Lipoid Pneumonia": ("lipoid pneumonia", "lipid pneumonia"),
}

NORMAL_PHRASES = (
    "no acute cardiopulmonary abnormality",
    "no acute findings",
    "no significant abnormality",
    "clear lungs",
    "a normal appearance of the chest",
)

# names that data sets use as labels, besides the labels and phrases themselves
OTHER_NAMES = {
    "effusion": "Pleural Effusion",
    "oedema": "Edema",
    "edema": "Edema",
    "hiatus hernia": "Hernia",
    "airspace opacity": "Lung Opacity",
    "opacity": "Lung Opacity",
    "lesion": "Lung Lesion",
    "infiltrate": "Infiltration",
    "pneumocystis": "Pneumocystis Pneumonia",
    "mycoplasma": "Mycoplasma Pneumonia",
    "streptococcus": "Streptococcal Pneumonia",
    "klebsiella": "Klebsiella Pneumonia",
    "legionella": "Legionella Pneumonia",
    "varicella": "Varicella Pneumonia",
    "influenza": "Influenza Pneumonia",
    "lipoid": "Lipoid Pneumonia",
    "covid": "COVID-19",
    "covid19": "COVID-19",
    "sars-cov-2": "COVID-19",
    "normal": NO_FINDING,
    "no findings": NO_FINDING,
    "no finding": NO_FINDING,
}

# further wordings that prompts and reports use; read, never written
READ_ONLY = {
    "enlarged cardiac contour": "Cardiomegaly",
    "heart is enlarged": "Cardiomegaly",
    "enlarged cardiomediastinal silhouette": "Enlarged Cardiomediastinum",
    "hydropneumothorax": "Pneumothorax",
    "pleural effusion": "Pleural Effusion",
    "opacities": "Lung Opacity",
    "masses": "Mass",
    "hernias": "Hernia",
    "opacification": "Lung Opacity",
    "fibrotic": "Fibrosis",
    "pacemaker": "Support Devices",
    "endotracheal tube": "Support Devices",
    "normal chest": NO_FINDING,
    "normal study": NO_FINDING,
    "normal radiograph": NO_FINDING,
    "normal examination": NO_FINDING,
    "unremarkable": NO_FINDING,
    "no acute abnormality": NO_FINDING,
    "no acute disease": NO_FINDING,
    "no acute process": NO_FINDING,
    "no acute cardiopulmonary process": NO_FINDING,
    "no acute cardiopulmonary disease": NO_FINDING,
    "no acute cardiopulmonary findings": NO_FINDING,
    "no abnormality": NO_FINDING,
}

VOCABULARY = (NO_FINDING, *PHRASES)
EMPTY = {"", "nan", "none", "n/a", "unknown"}


def without_article(phrase: str) -> str:
    """A phrase as it stands in a list: "a pleural effusion" -> "pleural effusion"."""
    return re.sub(r"^an? ", "", phrase)


def known_names() -> dict[str, str]:
    """Every lower-case name of a finding, without article, and its label."""
    names = {without_article(phrase).lower(): label for label, phrases in PHRASES.items() for phrase in phrases}
    names |= {without_article(phrase).lower(): NO_FINDING for phrase in NORMAL_PHRASES}
    return names | {label.lower(): label for label in VOCABULARY} | OTHER_NAMES


_NAMES = known_names()


def normalise_findings(text: str) -> list[str]:
    """Labels of a list of findings separated by ; , or |, without repeats, "No Finding" only when it is alone.

    "Effusion|Pleural_Thickening" -> ["Pleural Effusion", "Pleural Thickening"]; unknown names are kept as they are.
    """
    return list(_normalised(str(text)))


@lru_cache(maxsize=4096)  # a data set has few combinations of labels, and prompts are made by the million
def _normalised(text: str) -> tuple[str, ...]:
    parts = (" ".join(part.replace("_", " ").split()) for part in re.split(r"[;,|]", text))
    labels = list(dict.fromkeys(_NAMES.get(part.lower(), part) for part in parts if part.lower() not in EMPTY))
    return tuple([label for label in labels if label != NO_FINDING] or labels)
