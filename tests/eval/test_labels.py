"""Label figures against scikit-learn, with and without weights and ties."""

import numpy as np
import pytest
from sklearn import metrics

from gen.eval import labels
from gen.eval.resampling import cluster_counts, difference, estimate
from gen.eval.stats import Interval


@pytest.fixture(scope="module")
def read():
    generator = np.random.default_rng(0)
    truth = generator.random(300) < 0.3
    scores = np.round(truth * 0.3 + generator.normal(0, 0.4, 300), 1)  # many ties
    return scores, truth


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [(labels.auroc, metrics.roc_auc_score), (labels.average_precision, metrics.average_precision_score)],
)
def test_areas_are_those_of_sklearn(read, ours, theirs):
    scores, truth = read
    weights = cluster_counts(np.arange(300) // 3, draws=4)
    assert ours(scores, truth) == pytest.approx(theirs(truth, scores))
    expected = [theirs(truth, scores, sample_weight=row) for row in weights]
    np.testing.assert_allclose(ours(scores, truth, weights), expected)


def test_f1_and_rates_are_those_of_sklearn(read):
    scores, truth = read
    said, weights = scores > 0.2, cluster_counts(np.arange(300), draws=3)
    assert labels.f1(said, truth) == pytest.approx(metrics.f1_score(truth, said))
    expected = [metrics.f1_score(truth, said, sample_weight=row) for row in weights]
    np.testing.assert_allclose(labels.f1(said, truth, weights), expected)
    assert labels.rate(said, truth) == pytest.approx(metrics.recall_score(truth, said))


def test_best_threshold_has_the_best_f1(read):
    scores, truth = read
    best = labels.best_threshold(scores, truth)
    values = {float(t): metrics.f1_score(truth, scores >= t) for t in np.unique(scores)}
    assert values[best] == max(values.values())


def test_calibration_error_by_hand():
    probabilities = np.array([0.1, 0.1, 0.9, 0.9])
    truth = np.array([0, 1, 1, 1])
    # bin of 0.1: mean 0.1 against 0.5; bin of 0.9: 0.9 against 1
    assert labels.calibration_error(probabilities, truth) == pytest.approx(0.5 * 0.4 + 0.5 * 0.1)
    assert labels.calibration_error(truth.astype(float), truth) == 0


def test_one_class_has_no_area(read):
    scores, _ = read
    nothing = np.zeros(300, bool)
    assert np.isnan(labels.auroc(scores, nothing))
    assert np.isnan(labels.average_precision(scores, nothing))
    both = np.stack([nothing, read[1]], 1)
    assert labels.macro(labels.auroc, np.stack([scores, scores], 1), both) == labels.auroc(*read)


def test_mean_leaves_out_the_unknown():
    assert labels.mean(np.array([1.0, np.nan, 3.0])) == 2
    np.testing.assert_allclose(labels.mean(np.array([1.0, np.nan, 3.0]), np.array([[3, 1, 1]])), [1.5])


def test_clusters_come_and_go_together():
    counts = cluster_counts(["a", "a", "b", "c"], draws=50)
    assert (counts[:, 0] == counts[:, 1]).all()
    assert (counts[:, [0, 2, 3]].sum(1) == 3).all()


def test_interval_of_a_mean_is_that_of_theory():
    values = np.random.default_rng(1).normal(0, 1, 400)
    found = estimate(lambda w: labels.mean(values, w), cluster_counts(np.arange(400), draws=2000))
    half = 1.96 * values.std() / 20
    assert found.high - found.low == pytest.approx(2 * half, rel=0.06)


def test_a_repeated_patient_widens_the_interval():
    values = np.repeat(np.random.default_rng(2).normal(0, 1, 40), 10)
    of_rows = estimate(lambda w: labels.mean(values, w), cluster_counts(np.arange(400)))
    of_patients = estimate(lambda w: labels.mean(values, w), cluster_counts(np.repeat(np.arange(40), 10)))
    assert of_patients.high - of_patients.low > 2 * (of_rows.high - of_rows.low)


def test_paired_difference_sees_what_unpaired_intervals_hide():
    generator = np.random.default_rng(3)
    base = generator.normal(0, 1, 100)
    better = base + 0.1 + generator.normal(0, 0.05, 100)
    weights = cluster_counts(np.arange(100))
    found = difference(lambda w: labels.mean(better, w), lambda w: labels.mean(base, w), weights)
    assert found.low > 0.05 and found.p < 0.01
    same = difference(lambda w: labels.mean(base, w), lambda w: labels.mean(base, w), weights)
    assert same == Interval(0.0, 0.0, 0.0, 1.0)
