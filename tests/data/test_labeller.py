import pytest

from gen.data.labeller import LABELS, label_report
from gen.data.prompts import prompt_from_row
from gen.data.vocabulary import NO_FINDING, PHRASES, VOCABULARY

SIGNS = {"positive": "", "negative": "-", "uncertain": "?"}


def said(text: str) -> set[str]:
    """Labels but No Finding, with - where denied and ? where doubtful."""
    return {SIGNS[state] + label for label, state in label_report(text).items() if label != NO_FINDING}


@pytest.mark.parametrize(
    ("sentence", "labels"),
    [
        ("Cardiomegaly.", {"Cardiomegaly"}),
        ("The heart is mildly enlarged.", {"Cardiomegaly"}),
        ("The heart is not enlarged.", {"-Cardiomegaly"}),
        ("Heart size is normal.", {"-Cardiomegaly"}),
        ("Heart size upper limits of normal.", {"-Cardiomegaly"}),
        ("Mild cardiomegaly without pulmonary edema.", {"Cardiomegaly", "-Edema"}),
        ("Widening of the superior mediastinum.", {"Enlarged Cardiomediastinum"}),
        ("The mediastinal contours are normal.", {"-Enlarged Cardiomediastinum"}),
        ("There is an 8 mm nodule in the left upper lobe.", {"Lung Lesion"}),
        ("Calcified density in the right lung.", set()),
        ("No mass effect.", set()),
        ("Right upper lobe mass.", {"Lung Lesion"}),
        ("Patchy bibasilar air-space opacities.", {"Lung Opacity"}),
        ("Right basilar airspace disease.", {"Lung Opacity"}),
        ("Increased interstitial markings.", {"Lung Opacity"}),
        ("Pulmonary vascular congestion.", {"Edema"}),
        ("No overt edema.", {"-Edema"}),
        ("Soft tissue edema of the neck.", set()),
        ("Left lower lobe consolidation.", {"Consolidation"}),
        ("Right lower lobe pneumonia.", {"Pneumonia"}),
        ("Pneumonia cannot be excluded.", {"?Pneumonia"}),
        ("Opacity concerning for pneumonia.", {"Lung Opacity", "?Pneumonia"}),
        ("Opacity consistent with pneumonia.", {"Lung Opacity", "Pneumonia"}),
        ("Sequelae of old granulomatous infection.", set()),
        ("Opacities may represent atelectasis versus pneumonia.", {"Lung Opacity", "?Atelectasis", "?Pneumonia"}),
        ("Bibasilar atelectasis.", {"Atelectasis"}),
        ("Collapse of the left lower lobe.", {"Atelectasis"}),
        ("No pneumothorax.", {"-Pneumothorax"}),
        ("The pneumothorax has resolved.", {"-Pneumothorax"}),
        ("Pneumothorax is no longer seen.", {"-Pneumothorax"}),
        ("No change in the small left apical pneumothorax.", {"Pneumothorax"}),
        ("No significant interval change in bilateral pleural effusions.", {"Pleural Effusion"}),
        ("Pleural effusion is not definitely excluded.", {"?Pleural Effusion"}),
        ("Blunting of the left costophrenic angle.", {"?Pleural Effusion"}),
        ("Pericardial effusion.", set()),
        ("Biapical pleural thickening.", {"Pleural Other"}),
        ("Old healed left rib fractures.", {"Fracture"}),
        ("No acute displaced rib fracture.", {"-Fracture"}),
        ("Right PICC tip in the SVC.", {"Support Devices"}),
        ("Endotracheal tube 4 cm above the carina.", {"Support Devices"}),
        ("Interval removal of the right chest tube.", {"-Support Devices"}),
        ("Left chest ___ with leads in the right ventricle.", {"Support Devices"}),
        ("The lungs are clear.", set()),
    ],
)
def test_single_sentences(sentence, labels):
    assert said(sentence) == labels


@pytest.mark.parametrize(
    ("sentence", "labels"),
    [
        (
            "No focal consolidation, suspicious opacity, large pleural effusion, or pneumothorax is identified.",
            {"-Consolidation", "-Lung Opacity", "-Pleural Effusion", "-Pneumothorax"},
        ),
        ("There are no XXXX of a pleural effusion.", {"-Pleural Effusion"}),
        ("No pneumothorax, but a small effusion persists.", {"-Pneumothorax", "Pleural Effusion"}),
        ("No pneumothorax; bibasilar atelectasis.", {"-Pneumothorax", "Atelectasis"}),
        ("No pneumothorax, stable cardiomegaly.", {"-Pneumothorax", "Cardiomegaly"}),
        ("Negative for effusion or pneumothorax.", {"-Pleural Effusion", "-Pneumothorax"}),
        ("Atelectasis without effusion.", {"Atelectasis", "-Pleural Effusion"}),
        ("Cardiomegaly, however no edema.", {"Cardiomegaly", "-Edema"}),
        ("Clear lungs except for a small nodule.", {"Lung Lesion"}),
        ("Neither effusion nor pneumothorax.", {"-Pleural Effusion", "-Pneumothorax"}),
        ("No evidence of pneumonia. Moderate effusion.", {"-Pneumonia", "Pleural Effusion"}),
    ],
)
def test_a_denial_reaches_to_the_end_of_its_clause(sentence, labels):
    assert said(sentence) == labels


@pytest.mark.parametrize(
    ("report", "labels"),
    [
        (
            "As compared to the previous radiograph, the patient has received a left pectoral pacemaker. No evidence "
            "of pneumothorax. Moderate cardiomegaly with signs of mild fluid overload.",
            {"Cardiomegaly", "Edema", "-Pneumothorax", "Support Devices"},
        ),
        (
            "Moderate left pleural effusion with overlying atelectasis, underlying consolidation not excluded. No "
            "right pleural effusion or pneumothorax is seen.",
            {"?Consolidation", "Atelectasis", "-Pneumothorax", "Pleural Effusion"},
        ),
        (
            "Bibasilar opacities likely reflect atelectasis, however infection cannot be excluded in the appropriate "
            "clinical setting.",
            {"Lung Opacity", "?Pneumonia", "Atelectasis"},
        ),
        ("Cannot exclude small left effusion. Right IJ line terminates in the SVC.", None),
        (
            "Pulmonary vascular engorgement without frank edema. ET tube in standard placement.",
            {"Edema", "Support Devices"},
        ),
        ("Stable postoperative mediastinal widening.", {"Enlarged Cardiomediastinum"}),
        ("The lungs are clear without interval consolidation.", {"-Consolidation"}),
        ("Age-indeterminate rib fracture.", {"Fracture"}),
        ("Opacities which may be compatible with mild edema.", {"Lung Opacity", "?Edema"}),
    ],
)
def test_the_language_of_other_hospitals(report, labels):
    assert said(report) == ({"?Pleural Effusion", "Support Devices"} if labels is None else labels)


def test_what_to_look_for_is_not_there():
    assert said("Recommend CT to exclude a mass.") == set()
    assert said("INDICATION: rule out pneumonia, history of effusion. FINDINGS: Clear lungs.") == set()
    assert said("COMPARISON: effusion seen on prior.\nIMPRESSION: No effusion.") == {"-Pleural Effusion"}


def test_the_strongest_state_of_a_report_counts():
    report = "FINDINGS: No edema. Possible effusion. No effusion on the right.\nIMPRESSION: Mild edema."
    assert said(report) == {"Edema", "?Pleural Effusion"}
    assert said("WET READ: Pneumothorax.\nFINAL REPORT\nIMPRESSION: No pneumothorax.") == {"-Pneumothorax"}
    assert said("WET READ: Pneumothorax.") == {"Pneumothorax"}


@pytest.mark.parametrize(
    ("report", "state"),
    [
        ("Heart size normal. No effusion.", "positive"),
        ("Clear lungs. Pacemaker in place.", "positive"),
        ("Normal chest.", "positive"),
        ("Small effusion.", None),
        ("Possible pneumonia.", None),
        ("", None),
        ("INDICATION: cough.", None),
    ],
)
def test_no_finding(report, state):
    assert label_report(report).get(NO_FINDING) == state


def test_labels_keep_their_order_and_belong_to_the_suite():
    assert len(LABELS) == 14 and set(LABELS) <= set(VOCABULARY)
    found = label_report("Rib fracture. Effusion. Atelectasis. Cardiomegaly.")
    assert list(found) == [label for label in LABELS if label in found]


@pytest.mark.parametrize("label", [label for label in LABELS if label in PHRASES])
def test_every_written_phrase_is_read(label):
    for phrase in PHRASES[label]:
        assert label in said(f"There is {phrase}."), phrase
    assert label in said(prompt_from_row({"findings": label}))
