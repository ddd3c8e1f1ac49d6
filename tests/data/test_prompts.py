import math
import random
import re

import pandas as pd
import pytest

from gen.data.prompts import TEMPLATES, clean_report, normalise_findings, parse_prompt, prompt_from_row, report_sections
from gen.data.vocabulary import NO_FINDING, PHRASES, VOCABULARY, known_names, without_article

MAN = {"view": "PA", "sex": "M", "age": 64.0, "findings": "Cardiomegaly;Pleural Effusion"}
KEEP_ALL = {"drop_view": 0, "drop_sex": 0, "drop_age": 0, "drop_findings": 0}


@pytest.mark.parametrize(
    ("row", "prompt"),
    [
        (MAN, "PA chest radiograph of a 64-year-old man with cardiomegaly and a pleural effusion."),
        (
            {"view": "AP", "sex": "", "age": 3.0, "findings": "No Finding"},
            "AP chest radiograph of a 3-year-old child with no acute cardiopulmonary abnormality.",
        ),
        ({"view": "AP SUPINE", "sex": "F", "age": 81}, "Supine AP chest radiograph of an 81-year-old woman."),
        ({"view": "LATERAL", "age": 0.5, "sex": "F"}, "Lateral chest radiograph of a 6-month-old girl."),
        ({"view": "AP", "age": math.nan, "age_group": "child"}, "AP chest radiograph of a child."),
        ({"view": "UNKNOWN", "findings": "Edema"}, "Chest radiograph with pulmonary edema."),
        ({}, "Chest radiograph."),
        ({"view": None, "sex": None, "age": None, "findings": None}, "Chest radiograph."),
        ({"view": "PA", "findings": "Calcified granuloma"}, "PA chest radiograph with Calcified granuloma."),
    ],
)
def test_the_canonical_wording(row, prompt):
    assert prompt_from_row(row) == prompt


def test_wording_varies_and_repeats_with_its_seed():
    prompts = [prompt_from_row(MAN, random.Random(seed)) for seed in range(300)]
    assert prompts == [prompt_from_row(MAN, random.Random(seed)) for seed in range(300)]
    assert len(set(prompts)) > 200
    assert len(TEMPLATES[True, True]) >= 12


def test_attributes_are_dropped_as_often_as_asked():
    rng = random.Random(0)
    read = [parse_prompt(prompt_from_row(MAN, rng, drop_view=0.5, drop_age=0, drop_findings=1)) for _ in range(600)]
    assert 0.42 < sum(each["view"] == "UNKNOWN" for each in read) / 600 < 0.58
    assert {each["age"] for each in read} == {64.0}
    assert {each["findings"] for each in read} == {""}


@pytest.mark.parametrize("label", VOCABULARY)
def test_what_a_prompt_says_is_read_back(label):
    rng = random.Random(label)
    for view in ("PA", "AP", "AP SUPINE", "LATERAL", "UNKNOWN"):
        for sex in ("M", "F"):
            for age in (0.5, 3, 8, 64, 101):
                findings = normalise_findings(f"{label};{rng.choice(VOCABULARY)}")
                row = {"view": view, "sex": sex, "age": age, "findings": ";".join(findings)}
                read = parse_prompt(prompt_from_row(row, rng, **KEEP_ALL))
                read["findings"] = sorted(read["findings"].split(";"))
                assert read == row | {"findings": sorted(findings)}


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("pa chest, female 60, no pneumothorax, effusion or consolidation but cardiomegaly", "PA F 60 Cardiomegaly"),
        ("64F AP supine film, bilateral opacities", "AP SUPINE F 64 Lung Opacity"),
        ("Without effusion, with cardiomegaly", "UNKNOWN  nan Cardiomegaly"),
        ("Normal chest X-ray, 3 year old boy", "UNKNOWN M 3 No Finding"),
        ("Pleural effusion has resolved. Lateral view", "LATERAL  nan "),
        ("No mass. Nodule present.", "UNKNOWN  nan Nodule"),
        ("blunted lateral costophrenic angle, bilateral edema", "UNKNOWN  nan Edema"),
        ("Clear lungs except for a small nodule", "UNKNOWN  nan Nodule"),
        ("man, aged 71, E. coli pneumonia", "UNKNOWN M 71 E. coli Pneumonia"),
        ("", "UNKNOWN  nan "),
    ],
)
def test_reading_free_text(prompt, expected):
    read = parse_prompt(prompt)
    assert f"{read['view']} {read['sex']} {read['age']:g} {read['findings']}" == expected


def test_labels_of_other_data_sets():
    assert normalise_findings("Effusion|Pleural_Thickening|Effusion") == ["Pleural Effusion", "Pleural Thickening"]
    assert normalise_findings("No Finding;Edema") == ["Edema"]
    assert normalise_findings("normal") == [NO_FINDING]
    assert normalise_findings("") == normalise_findings("nan") == []
    assert normalise_findings("Azygos lobe") == ["Azygos lobe"]


def test_every_label_has_words_of_its_own():
    names = [without_article(phrase).lower() for phrases in PHRASES.values() for phrase in phrases]
    assert len(names) == len(set(names))
    assert all(len(phrases) >= 2 for phrases in PHRASES.values())
    nih = "Atelectasis Cardiomegaly Effusion Infiltration Mass Nodule Pneumonia Pneumothorax Consolidation Edema "
    nih += "Emphysema Fibrosis Pleural_Thickening Hernia"
    assert set(normalise_findings(nih.replace(" ", ";"))) <= set(VOCABULARY)
    assert set(known_names().values()) == set(VOCABULARY)


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("Normal chest x-XXXX.", "Normal chest x-ray."),
        ("There are no XXXX of a pleural effusion.", "There are no pleural effusion."),
        ("No significant interval change from XXXX.", "No significant interval change."),
        ("Compared to ___, the effusion is larger.", "The effusion is larger."),
        ("Inferior XXXX XXXX XXXX. Clear lungs.", "Clear lungs."),
        ("The XXXX are normal. Heart size is normal.", "Heart size is normal."),
        ("Seen by Dr. [**Last Name**] on [**2101-3-4**].  The lungs\nare clear.", "The lungs are clear."),
        ("1. Cardiomegaly. 2. No effusion .", "Cardiomegaly. No effusion."),
        ("Clear lungs.", "Clear lungs."),
        ("", ""),
    ],
)
def test_marks_are_mended(text, clean):
    assert clean_report(text) == clean


def test_no_mark_survives_in_real_reports(shared_data):
    table = pd.read_csv(shared_data / "openi_reports_text" / "indiana_reports.csv", keep_default_na=False)
    texts = [text for column in ("findings", "impression") for text in table[column] if text]
    cleaned = [clean_report(text) for text in texts]
    assert not [text for text in cleaned if re.search(r"XX|__|\0|  | [.,;]", text)]
    assert sum(map(bool, cleaned)) > 0.99 * len(texts)
    untouched = [text for text in texts if "XX" not in text]
    kept = sum(len(clean_report(text)) for text in untouched) / sum(map(len, untouched))
    assert kept > 0.98


def test_sections():
    report = "EXAM: CXR\nINDICATION: cough\n\nFINDINGS: Heart is large.\nLungs clear. IMPRESSION:\nCardiomegaly."
    assert report_sections(report) == {
        "examination": "CXR",
        "indication": "cough",
        "findings": "Heart is large.\nLungs clear.",
        "impression": "Cardiomegaly.",
    }
    assert report_sections("Heart is large.") == {"text": "Heart is large."}
    assert report_sections("") == {}


def test_a_report_speaks_for_its_row():
    row = MAN | {"report": "FINDINGS: Long text. IMPRESSION: Stable effusion since ___."}
    prompts = {prompt_from_row(row, random.Random(seed), use_report=1, **KEEP_ALL) for seed in range(40)}
    assert all(prompt.endswith(". Stable effusion.") for prompt in prompts)
    assert prompt_from_row(row) == prompt_from_row(MAN)
