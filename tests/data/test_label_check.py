import pandas as pd
import pytest

from gen.data.cli import app
from gen.data.index import read_index, write_index
from gen.data.label_check import coded_labels, measure
from gen.data.labelling import label_table
from gen.errors import UserError

typer = pytest.importorskip("typer.testing")
REPORTS = [
    ("Cardiomegaly/mild;Pleural Effusion/left", "Mild cardiomegaly. Left effusion.", ""),
    ("normal", "Heart size normal. No pneumothorax.", "Normal chest."),
    ("Pneumonia", "Clear lungs.", ""),
    ("normal", "Rib fracture.", ""),
    ("Opacity/lung/base/left", "", "Possible left basilar opacity."),
    ("normal", "", "Possible pneumothorax."),
    ("No Indexing", "Pneumonia.", ""),
    ("normal", "", ""),
]


@pytest.fixture
def reports(tmp_path):
    rows = [(str(uid), *row) for uid, row in enumerate(REPORTS)]
    pd.DataFrame(rows, columns=["uid", "MeSH", "findings", "impression"]).to_csv(tmp_path / "r.csv", index=False)
    return tmp_path / "r.csv"


@pytest.mark.parametrize(
    ("codes", "labels"),
    [
        ("normal", ""),
        ("Cardiac Shadow/enlarged;Cardiac Shadow/irregular", "Cardiomegaly"),
        ("Opacity/lung/upper lobe/left/round", "Lung Lesion,Lung Opacity"),
        ("Mass/breast/large", ""),
        ("Hydropneumothorax", "Pleural Effusion,Pneumothorax"),
        ("Thickening/pleura/apex;Thickening/bronchi", "Pleural Other"),
        ("Density/sternum;Pulmonary Fibrosis/interstitial", ""),
        ("Lung Diseases, Interstitial/chronic", "Lung Opacity"),
        ("Mediastinum/prominent;Mediastinum/blood vessels", "Enlarged Cardiomediastinum"),
    ],
)
def test_codes(codes, labels):
    assert ",".join(sorted(coded_labels(codes))) == labels


def test_scores_are_counted(reports):
    measured = measure(reports)
    assert measured.reports["all"] == 6 == measured.reports["tuning half"] + measured.reports["held-out half"]
    scores = measured.scores["all"]
    assert (scores["Cardiomegaly"].f1, scores["Lung Opacity"].f1) == (1, 1)  # a doubtful opacity counts,
    assert scores["Pneumothorax"] == (0, 0, 0)  # a doubtful pneumothorax does not
    assert (scores["Pneumonia"].recall, scores["Pneumonia"].precision) == (0, 1)
    assert scores["micro"] == (4, 4, 3) and scores["micro"].f1 == 0.75
    sides = set(zip(measured.disagreements["uid"], measured.disagreements["side"], strict=True))
    assert sides == {("2", "codes only"), ("3", "labeller only")}


def test_the_command_prints_the_table(reports, tmp_path):
    run = typer.CliRunner().invoke(
        app, ["label-check", "--reports", str(reports), "--disagreements", str(tmp_path / "d.csv")]
    )
    assert run.exit_code == 0, run.output
    assert "held-out half" in run.output and "reports a second, 2 disagreements" in run.output
    assert list(pd.read_csv(tmp_path / "d.csv")["label"]) == ["Pneumonia", "Fracture"]


@pytest.mark.parametrize(("text", "reason"), [(None, "not a readable CSV"), ("uid,MeSH\n1,normal\n", "'findings'")])
def test_a_wrong_file_is_named(tmp_path, text, reason):
    if text:
        (tmp_path / "r.csv").write_text(text)
    with pytest.raises(UserError, match=reason) as caught:
        measure(tmp_path / "r.csv")
    assert "r.csv" in str(caught.value)


def test_agreement_with_the_real_codes(shared_data):
    measured = measure(shared_data / "openi_reports_text" / "indiana_reports.csv")
    assert measured.scores["all"]["micro"].f1 >= 0.90
    assert measured.scores["held-out half"]["micro"].f1 >= 0.90
    assert measured.speed > 300  # thousands on an idle core


def test_findings_come_from_reports(table, tmp_path):
    texts = ["IMPRESSION: Cardiomegaly, possible edema.", "Clear lungs.", "", "No effusion."]
    table = table.assign(report=texts, findings=["", "", "Mass", "Edema"])
    write_index(table, tmp_path / "index.parquet")
    runner = typer.CliRunner()
    arguments = ["label", str(tmp_path / "index.parquet"), "--out", str(tmp_path / "labelled.parquet")]
    run = runner.invoke(app, arguments)
    assert run.exit_code == 0, run.output
    labelled = read_index(tmp_path / "labelled.parquet")
    assert list(labelled["findings"]) == ["Cardiomegaly", "No Finding", "Mass", "Edema"]
    assert list(labelled["uncertain"].fillna("")) == ["Edema", "", "", ""]
    assert runner.invoke(app, [*arguments, "--overwrite"]).exit_code == 0
    assert list(read_index(tmp_path / "labelled.parquet")["findings"]) == [
        "Cardiomegaly",
        "No Finding",
        "Mass",
        "No Finding",
    ]


def test_an_index_without_reports_is_refused(table):
    with pytest.raises(UserError, match=r"a\.parquet: no row has a report"):
        label_table(table, "a.parquet")
