"""Group figures, underdiagnosis, shortcut probes and distances on cases whose answer is known."""

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import roc_auc_score

from gen.eval import anomaly, fairness, shortcuts, underdiagnosis
from gen.eval.agreement import Sample
from gen.eval.readings import Readings
from gen.eval.utility_plan import load_plan
from gen.eval.utility_study import HeldOut, Study


def rows_of(number=200, seed=0):
    generator = np.random.default_rng(seed)
    ill = generator.random(number) < 0.5
    rows = pd.DataFrame(
        {"findings": np.where(ill, "Mass", "No Finding"), "view": generator.choice(["PA", "AP"], number)}
    )
    rows = rows.assign(sex=generator.choice(["F", "M"], number), age=50.0, source="here", split="test")
    rows["patient_id"] = [f"p{n // 2}" for n in range(number)]
    return rows, ill


def sample_of(rows, scores, features=None):
    n = len(rows)
    features = np.zeros((n, 4)) if features is None else features
    read = Readings(("Mass",), ("PA", "AP"), scores[:, None], np.zeros((n, 2)), np.zeros(n), np.zeros(n), features)
    return Sample(read, rows)


def test_a_reader_that_fails_women_is_seen_by_group():
    rows, ill = rows_of()
    generator = np.random.default_rng(1)
    female = (rows["sex"] == "F").to_numpy()
    scores = np.where(female, generator.random(len(rows)), ill + 0.1 * generator.random(len(rows)))
    made, real = sample_of(rows, scores), sample_of(rows, ill.astype(float))
    figures = {f.group: f for f in fairness.group_figures(made, real, 100, 0)}
    assert figures["male"].value == figures["female"].floor == 1
    assert figures["female"].value == pytest.approx(roc_auc_score(ill[female], scores[female]))
    assert set(figures) == {"male", "female", "age 40 to 59", "view PA", "view AP", "source here"}


def study_of(rows, ill, settings):
    """A study whose classifiers say what `settings` gives: scores [N, 2] of Mass and No Finding."""
    truth = np.stack([ill, ~ill], 1)
    names = ("Mass", "No Finding")
    test = HeldOut("in-domain", rows, list(names), [0, 1], truth)
    plan = load_plan(overrides=("seeds=1",))
    return Study(plan, names, [test], {name: [{"in-domain": scores}] for name, scores in settings.items()})


def test_underdiagnosis_gap_by_hand():
    rows, ill = rows_of()
    female = (rows["sex"] == "F").to_numpy()
    right = np.stack([ill, ~ill], 1).astype(float)
    biased = right.copy()
    told_well = np.flatnonzero(ill & female)[:20]  # twenty ill women are told that they are well
    told_ill = np.flatnonzero(~ill)[:20]
    biased[told_well], biased[told_ill] = (0, 1), (1, 0)
    study = study_of(rows, ill, {"real": right, "real + synthetic": biased})
    figures, tables = underdiagnosis.gap_figures(study, study.tests[0], 100, 0)
    found = {(f.name, f.group): f for f in figures}
    share = 20 / (ill & female).sum()
    assert found["underdiagnosis", "female, real + synthetic"].value == pytest.approx(share)
    assert found["underdiagnosis", "male, real + synthetic"].value == 0
    gap = found["underdiagnosis gap by sex", "real + synthetic"]
    assert gap.value == pytest.approx(share) and gap.floor == 0 and gap.low > 0
    assert found["false-negative rate gap by sex", "real + synthetic"].value == pytest.approx(share)
    (table,) = [t for t in tables if t.title == "underdiagnosis: gap between groups of sex"]
    assert table.rows[1][2] == f"{share:+.3f}"


def test_as_many_yes_as_positives():
    scores = np.random.default_rng(0).random((50, 3))
    truth = np.random.default_rng(1).random((50, 3)) < [0.1, 0.5, 0.9]
    assert (underdiagnosis.verdicts_of(scores, truth).sum(0) == truth.sum(0)).all()


def test_mahalanobis_is_its_closed_form():
    features = np.random.default_rng(0).normal(0, [1, 3], (5000, 2))
    fitted = anomaly.Distances.fit(features, shrinkage=0)
    far = fitted.mean + np.diag([2.0, 6.0])
    np.testing.assert_allclose(fitted.of(far), [2, 2], rtol=0.05)
    squares = fitted.of(features) ** 2
    assert squares.mean() == pytest.approx(2, rel=0.01)  # of a chi-squared with 2 degrees of freedom


def test_more_dimensions_than_images_still_give_distances():
    features = np.random.default_rng(0).normal(0, 1, (20, 64))
    distances = anomaly.Distances.fit(features[:10]).of(features)
    assert np.isfinite(distances).all() and distances[10:].min() > distances[:10].max()


def test_a_probe_finds_what_is_linear_and_does_not_learn_patients_by_heart():
    generator = np.random.default_rng(0)
    patients = np.repeat(np.arange(100), 4)
    truth = np.repeat(generator.random(100) < 0.5, 4)
    own = np.repeat(generator.normal(0, 1, (100, 60)), 4, axis=0)
    assert abs(roc_auc_score(truth, anomaly.probe(own, truth, patients)) - 0.5) < 0.12
    assert roc_auc_score(truth, anomaly.probe(own + 2 * truth[:, None], truth, patients)) > 0.95


def test_leakage_tells_synthetic_from_real_only_where_they_differ():
    rows, ill = rows_of()
    generator = np.random.default_rng(2)
    real, same = (sample_of(rows, ill * 1.0, generator.normal(0, 1, (200, 4))) for _ in range(2))
    made_rows = rows.drop(columns=["patient_id", "split"]).assign(prompt=[f"x{n}" for n in range(200)])
    same = Sample(same.read, made_rows)
    other = sample_of(made_rows, ill * 1.0, generator.normal(2, 1, (200, 4)))
    told = lambda made: {f.name: f for f in fairness.leakage_figures(real, made, 50, 0)}  # noqa: E731
    assert told(same)["real or synthetic told by features"].value == pytest.approx(0.5, abs=0.1)
    assert told(other)["real or synthetic told by features"].value > 0.95
    assert told(same)["view of real images told by features"].control == pytest.approx(0.5, abs=0.15)


def test_lungs_are_covered_by_their_surroundings():
    pixels = np.full((1, 16, 16), 100, np.uint8)
    mask = np.zeros((1, 16, 16), bool)
    mask[0, 4:8, 4:8] = True
    pixels[mask] = 7
    hidden = shortcuts.covered(pixels, mask)
    assert (hidden == 100).all() and (pixels[mask] == 7).all()


def test_a_reader_of_lungs_goes_blind_and_a_reader_of_frames_does_not():
    rows, ill = rows_of()
    generator = np.random.default_rng(3)
    guess = generator.random(200)
    whole, blank = sample_of(rows, ill + guess), sample_of(rows, guess)
    honest = shortcuts.masked_figures(whole, sample_of(rows, guess), blank, "covered", 100, 0)[0]
    cheat = shortcuts.masked_figures(whole, whole, blank, "covered", 100, 0)[0]
    assert honest.value == honest.control < 0.6 and honest.floor == cheat.value == 1
    alike = sample_of(rows.assign(findings="Pneumothorax"), guess)  # one prompt for all: no label can be judged
    assert shortcuts.masked_figures(alike, alike, alike, "covered", 100, 0) == []


def test_a_reader_of_drains_is_found_out():
    generator = np.random.default_rng(4)
    ill = generator.random(400) < 0.4
    drained = np.where(generator.random(400) < 0.85, ill, ~ill)
    findings = [
        ";".join(n for n, on in zip(("Pneumothorax", "Support Devices"), p, strict=True) if on) or "No Finding"
        for p in zip(ill, drained, strict=True)
    ]
    rows = pd.DataFrame({"findings": findings, "patient_id": [str(n) for n in range(400)], "split": "test"})
    read = Readings(("Pneumothorax",), (), (drained + 0.01 * generator.random(400))[:, None], *[np.zeros((400, 1))] * 4)
    figures = {f.group: f for f in shortcuts.device_figures(Sample(read, rows), "AUROC", 100, 0)}
    assert figures["Pneumothorax without devices"].floor > 0.75
    assert abs(figures["Pneumothorax without devices"].value - 0.5) < 0.15


def test_lung_masks_are_those_of_the_segmenter_with_a_margin():
    from gen.judges.lungs import LungSegmenter
    from gen.models.segmenter import ChestSegmenter

    torch.manual_seed(0)
    masks = shortcuts.lung_masks(
        np.random.default_rng(0).integers(0, 255, (2, 64, 64)).astype(np.uint8), LungSegmenter(ChestSegmenter())
    )
    assert masks.shape == (2, 64, 64) and masks.dtype == bool
