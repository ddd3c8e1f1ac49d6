"""The utility study on images whose finding is plain to see, and its bookkeeping."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from gen.errors import UserError
from gen.eval import utility
from gen.eval.context import Context
from gen.eval.corruptions import CORRUPTIONS
from gen.eval.readings import truth_matrix
from gen.eval.utility_material import IN_DOMAIN
from gen.eval.utility_plan import (
    ALL,
    SETTINGS,
    Known,
    NotEnough,
    Stage,
    UtilityConfig,
    baseline,
    load_plan,
    rare_names,
    training_set,
)
from gen.eval.utility_study import run_study

TINY = UtilityConfig(
    backbone="small",
    least=10,
    settings=("real", "real + synthetic", "real + shuffled synthetic", "synthetic, then real", "real + 5x"),
    widths=(8, 8),
    blocks=(1, 1),
    features=16,
    resolution=32,
    steps=50,
    batch_size=16,
    learning_rate=5e-3,
    seeds=2,
    splits=("test",),
)


@pytest.fixture(scope="module")
def context(squares, tmp_path_factory):
    real, synthetic = squares
    out = tmp_path_factory.mktemp("utility")
    return Context(real, synthetic, [], out, out / "cache", resamples=200, say=lambda text: None)


@pytest.fixture(scope="module")
def study(context):
    return run_study(context, TINY)


def test_a_visible_finding_is_learned_and_chance_is_not(study):
    section = utility.summary(study, 200, 0)
    rows = {row[0]: row[2:] for row in section.tables[1].rows}
    assert float(rows["Mass"][0].split()[0]) > 0.9
    assert 0.2 < float(rows["Nodule"][0].split()[0]) < 0.8
    figure = section.figure("macro AUROC", "real + synthetic")
    assert figure.low <= figure.value <= figure.high and figure.n == 50
    assert figure.floor == section.figure("macro AUROC", "real").value
    assert figure.control == section.figure("macro AUROC", "real + shuffled synthetic").value
    assert section.figure("macro AUROC", "real, external: there").n == 30


def test_a_setting_without_enough_images_is_named(study):
    assert study.left_out == {"real + 5x": "needs 600 synthetic images, there are 60"}
    assert "Left out: real + 5x" in utility.summary(study, 50, 0).notes[-1]
    assert study.sizes["synthetic, then real"] == (120, 60)


def test_finished_runs_are_kept_and_changed_ones_are_not(context, study):
    marks = sorted(context.out.rglob("done.json"))
    assert len(marks) == 8
    before = {path: path.stat().st_mtime_ns for path in marks}
    again = run_study(context, TINY)
    assert {path: path.stat().st_mtime_ns for path in marks} == before
    np.testing.assert_array_equal(again.of("real", again.tests[0])[0], study.of("real", study.tests[0])[0])
    assert not list(context.out.rglob("state"))
    run_study(context, TINY.model_copy(update={"steps": 5, "settings": ("synthetic, then real",), "seeds": 1}))
    changed = [path for path in marks if path.stat().st_mtime_ns != before[path]]
    assert [json.loads(path.read_text())["setting"] for path in changed] == ["synthetic, then real"]


def test_a_run_is_the_same_wherever_it_is_made(context, study, tmp_path):
    elsewhere = replace(context, out=tmp_path, _memory={})
    run_study(elsewhere, TINY.model_copy(update={"settings": ("real",), "seeds": 1}))
    for mark in tmp_path.rglob("done.json"):
        mark.unlink()  # as if the run had been killed; it goes on beside other seeds
    again = run_study(elsewhere, TINY.model_copy(update={"settings": ("real",)}))
    np.testing.assert_array_equal(again.of("real", again.tests[0])[1], study.of("real", study.tests[0])[1])


def test_without_training_only_what_is_finished_is_there(context, study):
    found = run_study(context, TINY.model_copy(update={"settings": ("real", "10 % real")}), training=False)
    assert list(found.scores) == ["real"] and "goes on with it" in found.left_out["10 % real"]


@pytest.fixture
def known(squares):
    """The real training images and the synthetic ones with their two labels."""

    def labelled(rows):
        truth = truth_matrix(rows["findings"], ["Mass", "Nodule"])
        return Known(rows, truth, truth)

    return labelled(squares[0][squares[0]["split"] == "train"]), labelled(squares[1])


def test_training_sets(known):
    real, synthetic = known
    tenth = training_set(Stage(0.1, 2), real, synthetic, seed=0)
    own = set(tenth.images) & set(real.images)
    assert len(own) == 12 and len(tenth.images) == 36
    assert real.rows[real.rows["image"].isin(own)]["patient_id"].nunique() == 6
    assert own == set(training_set(Stage(0.1), real, synthetic, seed=0).images)
    assert own != set(training_set(Stage(0.1), real, synthetic, seed=1).images)
    plain, shuffled = (training_set(Stage(0, ALL, shuffled=on), real, synthetic, 0) for on in (False, True))
    assert list(plain.images) == list(shuffled.images)
    assert (plain.truth.sum(0) == shuffled.truth.sum(0)).all() and (plain.truth != shuffled.truth).any()
    with pytest.raises(NotEnough):
        training_set(Stage(1, 5), real, synthetic, 0)


def test_only_rare_labels_are_added(known):
    real, synthetic = known
    rare = rare_names(real.shown)
    assert rare.sum() == 1
    chosen = training_set(Stage(0, ALL, rare=True), real, synthetic, 0)
    assert chosen.truth[:, rare].all() and 10 < len(chosen.images) < 60


def test_baselines():
    assert [baseline(name) for name in ("real + 1x", "10 % real + 2x", "1 % real + synthetic")] == [
        "real",
        "10 % real",
        "1 % real",
    ]
    assert {baseline(name) for name in SETTINGS} <= set(SETTINGS)
    for real in ("real", "10 % real", "1 % real"):  # every share of real patients with every amount of synthetic images
        assert {real, f"{real} + 1x", f"{real} + 2x", f"{real} + 5x", f"{real} + synthetic"} <= set(SETTINGS)
        assert baseline(f"synthetic, then {real}") == baseline(f"{real} + 5x") == real


def test_what_is_refused(context):
    with pytest.raises(UserError, match=r"'reel': none of real, synthetic"):
        run_study(context, TINY.model_copy(update={"settings": ("reel",)}))
    with pytest.raises(UserError, match="no finding has 60 held-out"):
        run_study(context, TINY.model_copy(update={"least": 60}))
    with pytest.raises(UserError, match=r"source 'moon' has 0 training"):
        run_study(context, TINY.model_copy(update={"source": "moon"}))
    with pytest.raises(UserError, match=r"label 'Hernia': index.parquet has .*Mass"):
        run_study(context, TINY.model_copy(update={"names": ("Mass", "Hernia")}))
    with pytest.raises(UserError, match="backbone 'small' cannot learn masks; take --target masks"):
        run_study(context, TINY.model_copy(update={"target": "masks"}))
    with pytest.raises(UserError, match=r"quick.yaml: a study of labels, not boxes"):
        load_plan(Path(__file__).parents[2] / "configs/utility_quick.yaml", (), "boxes")


def test_gain_is_zero_against_itself(study):
    from gen.eval.labels import auroc

    found = utility.gain(study, "real", "real", study.tests[0], auroc, 100, 0)
    assert (found.value, found.low, found.high, found.p) == (0, 0, 0, 1)
    assert study.tests[0].name == IN_DOMAIN


@pytest.mark.parametrize("damage", CORRUPTIONS)
def test_corruptions_grow_and_repeat(damage):
    images = np.random.default_rng(0).integers(40, 200, (3, 32, 32)).astype(np.uint8)
    made = [CORRUPTIONS[damage](images, strength, np.random.default_rng(1)) for strength in (1, 2, 3)]
    off = [np.abs(one.astype(int) - images).mean() for one in made]
    assert 0 < off[0] < off[1] < off[2] and made[0].dtype == np.uint8
    np.testing.assert_array_equal(made[0], CORRUPTIONS[damage](images, 1, np.random.default_rng(1)))
