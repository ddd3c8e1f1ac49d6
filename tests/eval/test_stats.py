"""Intervals cover, clusters widen them, tests keep their level, samples are equal and disjoint."""

import numpy as np
import pytest
from scipy.stats import norm

from gen.eval import stats

RNG = np.random.default_rng


def test_bootstrap_of_a_mean_is_the_normal_interval():
    values = RNG(0).normal(3, 2, 400)
    found = stats.bootstrap(lambda rows: values[rows].mean(), np.arange(400), 2000, RNG(1))
    reach = 1.96 * values.std(ddof=1) / 20
    assert found.value == pytest.approx(values.mean())
    assert (found.low, found.high) == pytest.approx((found.value - reach, found.value + reach), abs=0.03)


def test_repeated_patients_widen_the_interval():
    values = np.repeat(RNG(0).normal(size=50), 8)  # eight equal images a patient: 50 observations, not 400
    patients = np.repeat(np.arange(50), 8)
    mean = lambda rows: values[rows].mean()  # noqa: E731
    clustered = stats.bootstrap(mean, patients, 1000, RNG(1))
    naive = stats.bootstrap(mean, np.arange(400), 1000, RNG(1))
    assert (clustered.high - clustered.low) / (naive.high - naive.low) == pytest.approx(np.sqrt(8), rel=0.1)


def test_interval_covers_as_often_as_it_says():
    hits = 0
    for trial in range(200):
        values = RNG(trial).normal(size=60)
        found = stats.bootstrap(lambda rows: values[rows].mean(), np.arange(60), 200, RNG(trial + 1000))  # noqa: B023
        hits += found.low <= 0 <= found.high
    assert 0.88 < hits / 200 < 0.99


def test_weights_are_the_same_kind_of_draw():
    patients = ["a", "b", "b", "c"]
    weights = stats.resample_weights(patients, 500, RNG(0))
    assert weights.shape == (4, 500)
    assert (weights[1] == weights[2]).all()
    assert (weights[[0, 1, 3]].sum(0) == 3).all()


def test_a_statistic_that_fails_half_the_time_has_no_interval():
    found = stats.bootstrap(lambda rows: float("nan") if 0 not in rows[:2] else 1.0, np.arange(9), 200, RNG(0))
    assert np.isnan(found.low) and np.isnan(found.high)


def test_paired_bootstrap_sees_a_difference_that_unpaired_intervals_hide():
    shared = RNG(0).normal(0, 5, 300)
    first, second = shared + 0.3 + RNG(1).normal(0, 0.5, 300), shared
    mean = lambda values: lambda rows: values[rows].mean()  # noqa: E731
    found = stats.paired_bootstrap(mean(first), mean(second), np.arange(300), 1000, RNG(2))
    assert 0.15 < found.low < found.value < found.high < 0.35
    assert found.p < 0.01
    nothing = stats.paired_bootstrap(mean(first), mean(first), np.arange(300), 100, RNG(2))
    assert nothing.value == 0 and nothing.p == 1


def test_sign_flips_against_the_normal_test():
    differences = RNG(3).normal(0.15, 1, 200)
    p = stats.sign_flip_test(differences, np.arange(200), 4000, RNG(0))
    z = differences.mean() / (np.sqrt(np.square(differences).sum()) / 200)
    assert p == pytest.approx(2 * norm.sf(abs(z)), abs=0.02)


def test_sign_flips_of_few_clusters_are_exact():
    assert stats.sign_flip_test(np.ones(5), np.arange(5), 0, RNG(0)) == 2 / 32
    assert stats.sign_flip_test(np.ones(10), np.repeat([0, 1], 5), 0, RNG(0)) == 2 / 4


def test_jackknife_of_a_mean_is_the_t_interval():
    values = RNG(0).normal(size=40)
    without = (values.sum() - values) / 39
    found = stats.jackknife(without, values.mean())
    assert found.high - found.value == pytest.approx(2.0227 * values.std(ddof=1) / np.sqrt(40), rel=1e-3)


def test_wilson_interval():
    none = stats.share([False] * 100)
    assert none.value == 0 and none.low == 0 and none.high == pytest.approx(0.037, abs=0.001)
    some = stats.share([True] * 10 + [False] * 90)
    assert (some.low, some.high) == pytest.approx((0.0552, 0.1744), abs=2e-4)


def test_equal_numbers_and_halves():
    a, b = stats.equal_numbers(7, 4, RNG(0))
    assert len(a) == len(b) == 4 and len(set(a)) == 4 and max(a) < 7
    patients = RNG(1).integers(0, 30, size=200)
    one, two = stats.halves(patients, RNG(2))
    assert len(one) == len(two) > 90
    assert not set(patients[one]) & set(patients[two])
