"""Agreement, anatomy, image-text and report figures against closed forms, and on images that show what they should."""

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import f1_score, roc_auc_score

from gen.errors import UserError
from gen.eval import agreement, anatomy, collapse, image_text, reports
from gen.eval.readers import XrvReader, load_reader
from gen.eval.readings import Readings, other_rows, truth_matrix

NAMES = ("Mass", "Nodule")


def sample(number=300, seed=0, told=1.0):
    """Readings that know Mass, guess Nodule, get the view always and the sex nine times in ten right."""
    generator = np.random.default_rng(seed)
    truth = generator.random((number, 2)) < 0.4
    scores = generator.random((number, 2))
    scores[:, 0] = 0.5 * scores[:, 0] + 0.5 * told * truth[:, 0]
    sex = generator.choice(["F", "M"], number)
    right = generator.random(number) < 0.9
    female = np.where((sex == "F") == right, 0.8, 0.2)
    age = generator.uniform(20, 80, number)
    views = generator.choice(["PA", "AP SUPINE"], number)
    view = np.eye(2)[(views != "PA").astype(int)]
    findings = [";".join(n for n, on in zip(NAMES, row, strict=True) if on) or "No Finding" for row in truth]
    rows = pd.DataFrame({"findings": findings, "view": views, "sex": sex, "age": age})
    rows["prompt"] = [f"prompt {n}" for n in range(number)]
    read = Readings(NAMES, ("PA", "AP"), scores, view, female, age + 7, np.eye(number)[:, :8])
    return agreement.Sample(read, rows)


def test_labels_agree_as_sklearn_says():
    made, real = sample(seed=1), sample(seed=2)
    names = agreement.label_names([made, real], 10)
    limits = agreement.thresholds(real, names)
    figures = {(f.name, f.group): f for f in agreement.label_figures(made, real, names, limits, 100, 0)}
    truth = truth_matrix(made.rows["findings"], NAMES)
    area = roc_auc_score(truth, made.read.findings, average=None)
    assert figures["label AUROC", "Mass"].value == pytest.approx(area[0])
    assert figures["label AUROC", ""].value == pytest.approx(area.mean())
    expected = f1_score(truth[:, 0], made.read.findings[:, 0] >= limits[0])
    assert figures["label F1", "Mass"].value == pytest.approx(expected)
    assert figures["label AUROC", "Mass"].control == pytest.approx(0.5, abs=0.1)
    assert figures["label AUROC", "Mass"].floor > 0.9
    assert figures["label AUROC", "Nodule"].low < 0.5 < figures["label AUROC", "Nodule"].high


def test_attributes():
    figures = {f.name: f for f in agreement.attribute_figures(sample(seed=1), sample(seed=2), 100, 0)}
    assert figures["view accuracy"].value == 1 and figures["view accuracy"].control < 0.7
    assert figures["sex accuracy"].value == pytest.approx(0.9, abs=0.05)
    assert figures["age error"].value == pytest.approx(7) and figures["age error"].control > 12
    assert figures["age error"].better == "low"


def test_rare_labels_are_not_judged():
    assert agreement.label_names([sample(), sample()], 10) == ["Mass", "Nodule"]
    assert agreement.label_names([sample(), sample(12)], 10) == []


def test_shuffled_rows_are_of_others():
    groups = np.repeat(["a", "b", "c"], 5)
    assert (groups[other_rows(groups)] != groups).all()
    assert other_rows(["a", "a"]).tolist() == [0, 1]


def test_hedges_g_is_its_closed_form():
    generator = np.random.default_rng(0)
    values = generator.normal(0, 2, 60)
    ill = np.arange(60) < 25
    a, b = values[ill], values[~ill]
    pooled = np.sqrt((24 * a.var(ddof=1) + 34 * b.var(ddof=1)) / 58)
    expected = (a.mean() - b.mean()) / pooled * (1 - 3 / (4 * 58 - 1))
    assert anatomy.hedges_g(values, ill, ~ill) == pytest.approx(expected)
    twice = anatomy.hedges_g(values, ill, ~ill, np.full((1, 60), 2.0))[0]
    doubled = anatomy.hedges_g(np.tile(values, 2), np.tile(ill, 2), np.tile(~ill, 2))
    assert twice == pytest.approx(doubled)
    assert np.isnan(anatomy.hedges_g(values, np.zeros(60, bool), ill))


@pytest.mark.parametrize("angle", [30, 45, 60])
def test_costophrenic_angle_of_wedges(angle):
    """Two lungs with vertical walls whose bases rise towards the middle."""
    rows, columns = np.mgrid[0:400, 0:400]
    rise = (np.abs(columns - 199.5)) - 190  # 0 at the wall, negative inwards
    base = 350 + rise / np.tan(np.radians(angle))
    lungs = (np.abs(columns - 199.5) <= 190) & (np.abs(columns - 199.5) >= 20) & (rows > 50) & (rows <= base)
    assert anatomy.costophrenic_angle(lungs) == pytest.approx(angle, abs=3)


def test_a_blunted_angle_is_wide():
    rows, columns = np.mgrid[0:200, 0:200]
    off = np.abs(columns - 99.5)
    sharp = (off <= 90) & (off >= 10) & (rows > 20) & (rows < 80 + off)
    blunt = sharp & (rows + off < 220)
    assert anatomy.costophrenic_angle(blunt) > anatomy.costophrenic_angle(sharp) + 40
    assert np.isnan(anatomy.costophrenic_angle(np.zeros((9, 9), bool)))


def test_effects_are_found_where_they_are():
    generator = np.random.default_rng(0)
    rows = pd.DataFrame({"findings": ["Cardiomegaly", "No Finding"] * 50, "view": "PA"})
    rows["prompt"] = [str(n) for n in range(100)]
    measures = {effect.measure: generator.normal(0, 1, 100) for effect in anatomy.EFFECTS}
    measures["cardiothoracic_ratio"] = np.where(rows["findings"] == "Cardiomegaly", 0.6, 0.45)
    measures["cardiothoracic_ratio"] += generator.normal(0, 0.05, 100)
    (figure,) = anatomy.effect_figures((rows, measures), (rows, measures), 100, 0)
    assert figure.low > 2 and figure.floor == figure.value and abs(figure.control) < 0.6
    assert figure.name == "cardiothoracic ratio: a wide heart" and figure.n == 100


def test_retrieval_is_that_of_the_judge():
    from gen.judges.alignment import retrieval

    generator = torch.Generator().manual_seed(0)
    texts = torch.nn.functional.normalize(torch.randn(60, 8, generator=generator), dim=1)
    texts[1] = texts[0]
    images = torch.nn.functional.normalize(texts + 0.3 * torch.randn(60, 8, generator=generator), dim=1)
    theirs = retrieval(images, texts)
    for k in (1, 5, 10):
        assert image_text.hits(images.numpy(), texts.numpy(), k).mean() == pytest.approx(theirs[f"image to text R@{k}"])
        ours = image_text.hits(images.numpy(), texts.numpy(), k, "image found").mean()
        assert ours == pytest.approx(theirs[f"text to image R@{k}"])
    rows = pd.DataFrame({"prompt": [f"p{n}" for n in range(60)]})
    part = (rows, images.numpy(), texts.numpy())
    figures = {f.name: f for f in image_text.match_figures(part, part, 100, 0)}
    score = figures["image-text score"]
    assert score.value == pytest.approx(score.floor) and score.value > 0.7 and abs(score.control) < 0.3
    assert figures["prompt found, R@1"].control < 0.2


def test_reports_are_labelled_and_compared():
    rows = pd.DataFrame({"findings": ["Cardiomegaly", "Pleural Effusion", "No Finding", "Cardiomegaly"] * 9})
    rows["prompt"] = [str(number) for number in range(36)]
    texts = ["The heart is enlarged.", "No pleural effusion.", "Normal chest.", "There is cardiomegaly."] * 9
    figures = {f.name: f for f in reports.consistency_figures(rows, texts, 50, 0, real=(rows, texts))}
    # of four images one is missed, and its denying report counts as no finding: TP 3, FP 1, FN 1
    assert figures["report F1, micro"].value == pytest.approx(0.75)
    assert figures["report F1, micro"].floor == figures["report F1, micro"].value
    assert figures["report F1, micro"].control < 0.75
    assert reports.written(lambda image: str(image.shape), np.zeros((1, 4, 4))) == ["(4, 4)"]


def test_collapse_is_found_at_the_rate_it_was_planted():
    generator = np.random.default_rng(0)
    real, train, made = (generator.integers(0, 255, (number, 64, 64)).astype(np.uint8) for number in (40, 60, 50))
    made[10:15] = made[20]
    patients = lambda number: pd.DataFrame({"patient_id": [str(n) for n in range(number)]})  # noqa: E731
    rows = pd.DataFrame({"prompt": [f"p{n}" for n in range(50)]})
    figure, pairs = collapse.collapse_figure((rows, made), (patients(40), real), (patients(60), train), 50, 0)
    assert figure.value == pytest.approx(6 / 50) and figure.floor == 0 and figure.control > figure.value
    assert {row for pair in pairs for row in pair} <= {10, 11, 12, 13, 14, 20}
    same = pd.DataFrame({"prompt": ["p"] * 50})
    assert collapse.collapse_figure((same, made), (patients(40), real), (patients(60), train), 50, 0)[0].value == 0


def test_torchxrayvision_reads_behind_the_same_door():
    import torchxrayvision

    model = torchxrayvision.models.DenseNet(weights=None, num_classes=18)
    model.pathologies = torchxrayvision.datasets.default_pathologies  # as the package does with weights
    reader = XrvReader(model)
    assert {"Pleural Effusion", "Pleural Thickening", "Cardiomegaly"} <= set(reader.labels)
    found = reader.read(torch.zeros(2, 1, 64, 64))
    assert found.findings.shape == (2, len(reader.labels)) and found.view.shape == (2, 0)
    assert found.age.isnan().all()


def test_unknown_readers_are_refused():
    with pytest.raises(UserError, match=r"--reader nowhere: neither reader, xrv nor a folder"):
        load_reader("nowhere")
