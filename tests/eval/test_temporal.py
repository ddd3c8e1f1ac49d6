"""Follow-ups and views by readings whose figures are known, and from tables of files."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from gen.errors import UserError
from gen.eval import labels, progression, series, table_baselines, temporal, views
from gen.eval.readings import Readings
from gen.judges.reader import Reader
from gen.models.classifier import RadiographClassifier

NAMES = ("Mass", "Nodule")


def read(findings, features, view=None):
    n = len(findings)
    view = np.zeros((n, 3)) if view is None else view
    return Readings(NAMES, ("PA", "AP", "LATERAL"), findings, view, np.zeros(n), np.zeros(n), features)


@pytest.fixture(scope="module")
def pairs():
    """Eighty pairs of forty patients; a quarter of the labels change, and the reader is never wrong."""
    generator = np.random.default_rng(0)
    before = generator.random((80, 2)) < 0.5
    truth = before ^ (generator.random((80, 2)) < 0.25)
    person = np.repeat(generator.normal(0, 1, (40, 16)), 2, axis=0)
    same = (before == truth).all(1)
    near = lambda: person + generator.normal(0, 0.3, person.shape)  # noqa: E731
    images = {
        "prior": read(before * 0.8 + 0.1, near()),
        "target": read(truth * 0.8 + 0.1, near()),
        "generated": read(truth * 0.8 + 0.1, near()),
    }
    subset = np.where(same, series.SAME, series.DIFF)
    return series.Series(list(NAMES), images, truth, before, subset, np.repeat(np.arange(40), 2))


def test_a_perfect_follow_up(pairs):
    section = temporal.summary(pairs, 200, 0)
    assert section.figure("AUROC, All", "generated").value == 1
    assert section.figure("direction", "generated").value == 1
    assert section.figure("similarity to the prior", "generated").value > 0.8
    assert abs(section.figure("similarity to the prior", "generated").control) < 0.4
    for name in ("course, worsened", "course, stable", "course, improved", progression.COURSE):
        assert section.figure(name, "generated").value == 1
    assert section.verdicts[0].kind == "good"


def test_a_set_of_soft_follow_ups_is_further_from_real_ones(pairs):
    fine = temporal.summary(pairs, 50, 0).figure(temporal.FRECHET, "generated")
    soft = replace(pairs.read["generated"], features=0.5 * pairs.read["generated"].features)
    worse = temporal.summary(replace(pairs, read=pairs.read | {"generated": soft}), 50, 0)
    made = worse.figure(temporal.FRECHET, "generated")
    assert made.value > 3 * fine.value and made.floor == fine.floor and fine.value == pytest.approx(fine.floor, rel=0.5)
    assert [row[0] for row in worse.tables[0].rows][-1] == temporal.FRECHET


def test_copying_the_prior_is_right_where_nothing_changes(pairs):
    section = temporal.summary(pairs, 200, 0)
    copy = lambda name: section.figure(name, series.COPY).value  # noqa: E731
    assert copy("AUROC, Same") == copy("F1, Same") == 1
    assert copy("direction") == 0.5
    assert [copy(f"course, {name}") for name in ("worsened", "stable", "improved")] == [0, 1, 0]
    # where a label is free to change, a copy knows nothing; over pairs that differ it is worse than chance
    assert copy("AUROC, Diff") < 0.5 < copy("AUROC, All") < 1
    assert copy("similarity to the prior") == pytest.approx(1)


def test_a_reader_that_sees_no_direction_on_real_images_judges_none(pairs):
    blind = replace(pairs, read=dict.fromkeys(pairs.read, pairs.read["prior"]))
    verdict = temporal.summary(blind, 200, 0).verdicts[0]
    assert verdict.kind == "unclear" and "The reader itself sees the right direction in 50% of changes" in verdict.text


def test_intervals_of_few_patients_are_warned_of(pairs):
    few = replace(pairs, patients=np.repeat(np.arange(4), 20))
    assert "80 pairs of 4 patients: intervals are too narrow" in temporal.summary(few, 50, 0).notes[0]
    assert temporal.summary(pairs, 50, 0).notes[0].startswith("80 pairs of 40 patients. Labels")


def test_a_copy_that_is_handed_out_is_named(pairs):
    prior = pairs.read["prior"]
    further = read(pairs.read["target"].findings, prior.features + np.random.default_rng(5).normal(0, 2, (80, 16)))
    copied = replace(pairs, read={"prior": prior, "target": further, "generated": prior})
    section = temporal.summary(copied, 200, 0)
    assert ["change too little" in verdict.text for verdict in section.verdicts] == [False, True]
    assert section.verdicts[1].kind == "bad"
    assert len(temporal.summary(replace(copied, read=copied.read | {"generated": further}), 200, 0).verdicts) == 1


def test_events_are_judged_where_they_differ(pairs):
    other = read(pairs.read["prior"].findings, np.random.default_rng(6).normal(0, 1, (80, 16)))
    differs = np.arange(80) < 40
    drawn = replace(pairs, read=pairs.read | {series.WRONG: other}, exchanged=differs)
    section = temporal.summary(drawn, 200, 0)
    table = next(table for table in section.tables if table.title.startswith("What the events do"))
    found = {row[0]: row for row in table.rows}
    assert {row[1] for row in table.rows} == {"40"} and found["direction"][2:5] == ("1.000", "0.500", "+0.500")
    assert section.verdicts[-1].kind == "good" and "40 pairs" in section.verdicts[-1].text
    none = temporal.summary(replace(drawn, exchanged=np.zeros(80, bool)), 200, 0)
    assert [table.title for table in none.tables] == ["Follow-up images and their baselines"]
    assert none.notes[0].startswith("No pair has events")


def test_findings_that_are_not_known_are_left_out_of_labels(pairs):
    unknown = np.arange(80) < 8
    wrong = np.where(unknown[:, None], ~pairs.truth, pairs.truth)  # would spoil every figure
    told = {"female": np.where(unknown, np.nan, 1.0), "age": np.full(80, np.nan)}
    subset = np.where(unknown, series.UNKNOWN, pairs.subset)
    section = temporal.summary(replace(pairs, truth=wrong, subset=subset, recorded=told), 200, 0)
    assert section.figure("AUROC, All", "generated").value == section.figure("direction", "generated").value == 1
    assert section.figure("AUROC, All", "generated").n == 72
    assert section.figure("similarity to the prior", "generated").n == 80
    assert "8 pairs whose findings are not known" in section.notes[0]
    sex = section.figure("sex read as recorded", "generated")
    assert (sex.value, sex.n) == (0, 72)  # these readings call everyone male
    with pytest.raises(KeyError):
        section.figure("age read within 10 years of the record", "generated")


def test_a_classifier_of_the_table_reads_events_of_other_patients():
    generator = np.random.default_rng(3)
    treated, before = generator.random(200) < 0.5, generator.random((200, 1)) < 0.5
    cells = ['[[5.0,"diuretic",40.0,"mg"]]' if given else "[]" for given in treated]
    rows = pd.DataFrame({"events": cells, "gap_hours": "24.0"})
    truth = before & ~treated[:, None]
    scores = table_baselines.table_scores(rows, truth, before, np.repeat(np.arange(100), 2))
    assert labels.auroc(scores[:, 0], truth[:, 0]) > 0.95 > labels.auroc(before[:, 0].astype(float), truth[:, 0])
    none = table_baselines.table_scores(rows.assign(events="[]"), truth, before, np.repeat(np.arange(100), 2))
    assert labels.auroc(none[:, 0], truth[:, 0]) < 0.9


def test_direction_by_hand():
    prior, made = (
        read(np.array([[0.2, 0.5]] * 3), np.zeros((3, 2))),
        read(np.array([[0.6, 0.1], [0.1, 0.5], [0.2, 0.9]]), np.zeros((3, 2))),
    )
    before = np.array([[0, 1], [0, 1], [1, 1]], bool)
    truth = np.array([[1, 0], [1, 0], [0, 1]], bool)
    right, asked = progression.direction(made, prior, truth, before, list(NAMES))
    # both right; one wrong and one unmoved; one unmoved, and one that should not have moved
    assert right.tolist() == [2, 0.5, 0.5] and asked.tolist() == [2, 2, 1]


@pytest.fixture
def asked():
    """Sixty pairs of twenty patients: right views, right findings, the patient's own likeness."""
    generator = np.random.default_rng(1)
    views_asked = np.tile(["PA", "LATERAL", "AP"], 20)
    truth = generator.random((60, 2)) < 0.5
    findings = [";".join(n for n, on in zip(NAMES, row, strict=True) if on) or "No Finding" for row in truth]
    person = np.repeat(generator.normal(0, 1, (20, 16)), 3, axis=0)
    seen = np.eye(3)[[["PA", "AP", "LATERAL"].index(view) for view in views_asked]]
    target = read(truth * 0.9, person + generator.normal(0, 0.2, person.shape), seen)
    made = read(truth * 0.9, person + generator.normal(0, 0.4, person.shape), seen)
    return views.Views({"target": target, "generated": made}, views_asked, findings, np.repeat(np.arange(20), 3))


def test_perfect_views(asked):
    section = views.summary(asked, 200, 0)
    for view in ("", "PA", "AP", "LATERAL"):
        assert section.figure("view accuracy", view).value == section.figure("view accuracy", view).floor == 1
        assert section.figure("label F1", view).value == 1
        assert section.figure(views.SIMILARITY, view).value > 0.7
    assert section.figure("view accuracy").control < 0.6
    similarity = section.figure(views.SIMILARITY)
    assert similarity.low > 0.7 and abs(similarity.control) < 0.3
    assert section.verdicts[0].kind == "good"


def test_a_context_that_does_not_matter(asked):
    ignored = views.Views(
        asked.read | {views.WRONG: asked.read["generated"]}, asked.asked, asked.findings, asked.patients
    )
    section = views.summary(ignored, 200, 0)
    assert section.verdicts[0].kind == "unclear"
    assert section.tables[0].rows[0][::2][:2] == ("a wrong context", "+0.000")


@pytest.fixture(scope="module")
def judge():
    torch.manual_seed(0)
    return Reader(RadiographClassifier(NAMES, widths=(4, 8), blocks=(1, 1), features=8, resolution=32))


def pictures(folder, names):
    generator = np.random.default_rng(2)
    for name in names:
        Image.fromarray(generator.integers(0, 255, (40, 40)).astype(np.uint8)).save(folder / name)


def test_a_table_of_follow_ups(tmp_path, judge):
    pictures(tmp_path, [f"{n}.png" for n in range(14)])
    findings = ["Mass", "No Finding"] * 6
    table = pd.DataFrame({"prior": [f"{n}.png" for n in range(12)], "target": [f"{n + 1}.png" for n in range(12)]})
    table = table.assign(generated=[f"{n + 2}.png" for n in range(12)], findings=findings)
    table = table.assign(prior_findings=[*findings[1:], "Mass"], patient=[f"p{n // 2}" for n in range(12)])
    table.to_csv(tmp_path / "pairs.csv", index=False)
    section = temporal.measure_series(tmp_path / "pairs.csv", judge, 50)
    table.assign(generated_wrong=table["prior"]).to_csv(tmp_path / "wrong.csv", index=False)
    wrong = temporal.measure_series(tmp_path / "wrong.csv", judge, 50)
    names = ("direction", "AUROC, All", "sex read as in the prior")
    for copied, other in ((wrong.figure(name, who) for who in (series.COPY, series.WRONG_EVENTS)) for name in names):
        assert copied.value == other.value  # the wrong one is the prior here
    assert section.figure("direction", series.COPY).value == 0.5
    assert section.figure("sex read as in the prior", series.COPY).value == 1
    assert [row[0] for row in section.tables[-1].rows] == ["All", "Diff"]
    assert section.figure("AUROC, All", "generated").n == 12
    assert "Labels: Mass." in section.notes[0]
    table.assign(findings="Nodule").to_csv(tmp_path / "dull.csv", index=False)
    dull = temporal.measure_series(tmp_path / "dull.csv", judge, 50)
    assert dull.figure("similarity to the prior", "generated").n == 12 and dull.verdicts[0].kind == "unclear"
    assert {figure.name for figure in dull.figures}.isdisjoint({"direction", "AUROC, All", "F1, All"})
    assert "No finding stands in 5 pairs" in dull.notes[0] and len(dull.tables) == 1


def test_a_table_tells_findings_sex_age_and_events(tmp_path, judge):
    pictures(tmp_path, [f"{n}.png" for n in range(4)])
    rows = {"findings": ["Mass", "No Finding", "COVID-19", ""], "prior_findings": ["No Finding", "No Finding"] * 2}
    rows |= {"patient": list("abcd"), "sex": ["F", "M", "", "F"], "age": ["60", "", "7.5", "40"]}
    rows |= {"events": ["[]", '[[1,"x",null,""]]', "[]", "[]"], "events_wrong": ["[]"] * 4}
    rows |= {name: [f"{n}.png" for n in range(4)] for name in (*series.IMAGES, series.WRONG)}
    pd.DataFrame(rows).to_csv(tmp_path / "pairs.csv", index=False)
    _, found = series.read_series(tmp_path / "pairs.csv", judge)
    assert found.subset.tolist() == [series.DIFF, series.SAME, series.UNKNOWN, series.UNKNOWN] and not found.names
    assert found.exchanged.tolist() == [False, True, False, False]
    assert np.array_equal(found.recorded["female"], [1, 0, np.nan, 1], equal_nan=True)
    assert np.array_equal(found.recorded["age"], [60, np.nan, 7.5, 40], equal_nan=True)


def test_a_table_of_views(tmp_path, judge):
    pictures(tmp_path, [f"{n}.png" for n in range(12)])
    table = pd.DataFrame({"context": "0.png", "target": [f"{n}.png" for n in range(12)], "generated": "1.png"})
    table = table.assign(view="PA", findings=["Mass", "No Finding"] * 6, patient=list("aabbccddeeff"))
    table.to_csv(tmp_path / "views.csv", index=False)
    section = views.measure_views(tmp_path / "views.csv", judge, 50)
    assert section.figure("view accuracy", "PA").n == 12
    table.assign(generated=table["target"], generated_wrong="1.png").to_csv(tmp_path / "wrong.csv", index=False)
    section = views.measure_views(tmp_path / "wrong.csv", judge, 50)
    for view in ("", "PA"):
        assert (
            section.figure(views.DISTANCE, view).value == 0 and 40 < section.figure(views.DISTANCE, view).control < 100
        )
    (_, nearer) = section.tables[0].rows
    assert nearer[1] == "nearer to it, grey levels of 255" and 40 < float(nearer[2]) < 100  # of noise, from itself
    turned = table.assign(view="UNKNOWN", generated=table["target"], generated_wrong="1.png")
    turned.to_csv(tmp_path / "turned.csv", index=False)
    section = views.measure_views(tmp_path / "turned.csv", judge, 50)
    assert section.tables[0].rows[0][0] == "another angle" and "view accuracy" not in {f.name for f in section.figures}
    table.assign(view="OBLIQUE").to_csv(tmp_path / "odd.csv", index=False)
    with pytest.raises(UserError, match=r"view 'OBLIQUE' is none that the reader knows \(PA, AP, LATERAL\)"):
        views.measure_views(tmp_path / "odd.csv", judge, 50)


def test_another_network_tells_the_views(tmp_path, judge):
    pictures(tmp_path, [f"{n}.png" for n in range(12)])
    table = pd.DataFrame({"context": "0.png", "target": [f"{n}.png" for n in range(12)], "generated": "1.png"})
    table = table.assign(view="LATERAL", findings=["Mass", "No Finding"] * 6, patient=list("aabbccddeeff"))
    table.to_csv(tmp_path / "views.csv", index=False)
    viewer = Reader(RadiographClassifier((), views=("LATERAL",), widths=(4,), blocks=(1,), features=4, resolution=32))
    section = views.measure_views(tmp_path / "views.csv", judge.seeing_by(viewer), 50)
    figure = section.figure("view accuracy", "LATERAL")
    assert figure.value == figure.floor == 1 and section.figure("label AUROC", "LATERAL").n == 12
    table.assign(view="PA").to_csv(tmp_path / "odd.csv", index=False)
    with pytest.raises(UserError, match=r"view 'PA' is none that the reader knows \(LATERAL\)"):
        views.measure_views(tmp_path / "odd.csv", judge.seeing_by(viewer), 50)
