import pytest

from gen.data.reports import clean_report, report_sections

MIMIC = """                                 WET READ: ___ ___ ___ 7:43 PM
  Mild edema.
 ______________________________________________________________________________
                                 FINAL REPORT
 EXAMINATION:  CHEST (PA AND LAT)

 INDICATION:  ___F with cough  // eval for infection

 TECHNIQUE:  Chest PA and lateral

 COMPARISON:  ___

 FINDINGS:

 No consolidation. There is a pacemaker with this indication: unknown.

 IMPRESSION:

 No pneumonia.

 RECOMMENDATION(S):  None.
"""
CHEXPERT_PLUS = """NARRATIVE:
RADIOGRAPHIC EXAMINATION OF THE CHEST: 9/8/2001

CLINICAL HISTORY: 65 years of age, Male.

COMPARISON: Sep 7

PROCEDURE COMMENTS: Single AP view.

FINDINGS: Right PICC.

IMPRESSION:

1.  STABLE CARDIOMEGALY.
2.  NO PNEUMOTHORAX.

END OF IMPRESSION:

SUMMARY:2-ABNORMAL, PREVIOUSLY REPORTED

ACCESSION NUMBER:
12345
"""


def test_mimic():
    sections = report_sections(MIMIC)
    assert sections.pop("wet read").splitlines()[1].strip() == "Mild edema."
    assert sections == {
        "examination": "CHEST (PA AND LAT)",
        "indication": "___F with cough  // eval for infection",
        "technique": "Chest PA and lateral",
        "comparison": "___",
        "findings": "No consolidation. There is a pacemaker with this indication: unknown.",
        "impression": "No pneumonia.",
        "recommendation": "None.",
    }


def test_mimic_without_findings():
    text = (
        "                                 FINAL REPORT\n AP CHEST, ___\n\n HISTORY:  Surgery.\n\n IMPRESSION:  Edema.\n"
    )
    assert report_sections(text) == {"text": "AP CHEST, ___", "indication": "Surgery.", "impression": "Edema."}


def test_chexpert_plus():
    assert report_sections(CHEXPERT_PLUS) == {
        "text": "RADIOGRAPHIC EXAMINATION OF THE CHEST: 9/8/2001",
        "indication": "65 years of age, Male.",
        "comparison": "Sep 7",
        "technique": "Single AP view.",
        "findings": "Right PICC.",
        "impression": "1.  STABLE CARDIOMEGALY.\n2.  NO PNEUMOTHORAX.",
        "summary": "2-ABNORMAL, PREVIOUSLY REPORTED",
        "administration": "12345",
    }


@pytest.mark.parametrize(
    ("text", "sections"),
    [
        ("COMPARISON: None.\nFINDINGS: Clear.\nIMPRESSION: Normal.", "comparison findings impression"),
        ("FINDINGS\nClear.\n\nIMPRESSION\nNormal.", "findings impression"),
        ("Findings: Clear. Impression: Normal.", "findings impression"),
        ("CHEST X-RAY FINDINGS: Clear IMPRESSION: Normal", "text findings impression"),
        ("FINDINGS AND IMPRESSION: Clear.", "impression"),
        ("REASON FOR THIS EXAMINATION: cough\r\nFINDINGS: clear", "indication findings"),
        ("The study: a chest film", "text"),
    ],
)
def test_headings(text, sections):
    assert list(report_sections(text)) == sections.split()


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("___F with cough and ___ consolidation.", "Woman with cough and consolidation."),
        ("___-year-old man with ___ opacity.", "Man with opacity."),
        ("Heart size is XXXX. No effusion.", "No effusion."),
        ("Dr. ___ was paged at 3:15 p.m. on ___ by Dr. ___. Clear lungs.", "Clear lungs."),
        ("Findings were discussed with ___ by ___ on ___.", ""),
        ("As compared to the previous radiograph of ___, the effusion is larger.", None),
        ("[**Known lastname 123**] has a pacemaker. Stable.", "Stable."),
    ],
)
def test_marks_are_mended_to_whole_sentences(text, clean):
    expected = "As compared to the previous radiograph, the effusion is larger." if clean is None else clean
    assert clean_report(text) == expected
