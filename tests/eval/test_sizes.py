"""Sizes of findings in phantom follow-ups: figures of known measurements, and a small data set of real phantoms."""

import numpy as np
import pandas as pd
import pytest

from gen.errors import UserError
from gen.eval import sizes


def known(noise, seed=0):
    generator = np.random.default_rng(seed)
    before, change = generator.random(120) + 0.5, generator.normal(0, 0.3, 120)
    seen = {sizes.REAL: change, sizes.DRAWN: change + noise * generator.normal(0, 0.3, 120)}
    seen |= {sizes.WRONG: generator.normal(0, 0.3, 120), sizes.COPY: np.zeros(120)}
    return sizes.Sizes(np.repeat(["edema", "effusion"], 60), np.arange(120) // 3, before, before + change, seen)


def test_correlations_agree_with_numpy():
    given = known(0.5)
    section = sizes.summary(given, 100)
    change = given.after - given.before
    expected = np.corrcoef(given.seen[sizes.DRAWN][:60], change[:60])[0, 1]
    assert section.figure("correlation of change, edema", sizes.DRAWN).value == pytest.approx(expected)
    whole = np.corrcoef(given.before + given.seen[sizes.DRAWN], given.after)[0, 1]
    assert section.figure("correlation of size, all", sizes.DRAWN).value == pytest.approx(whole)
    assert section.figure("correlation of change, all", sizes.DRAWN).floor == pytest.approx(1)
    assert section.verdicts[0].kind == "good"
    copied = next(row for row in section.tables[0].rows if row[0] == "correlation of change, all")[5]
    assert copied == "nan"  # who changes nothing has no correlation of change


def test_what_the_size_before_explains_is_left_out_of_a_partial_correlation():
    given = known(0.5)
    section = sizes.summary(given, 100)

    def left(values):
        return values - np.polyval(np.polyfit(given.before, values, 1), given.before)

    for who in (sizes.DRAWN, sizes.WRONG):
        expected = np.corrcoef(left(given.before + given.seen[who]), left(given.after))[0, 1]
        assert section.figure(f"correlation of {sizes.GIVEN}, all", who).value == pytest.approx(expected)
    other = section.figure("correlation of size, all", sizes.WRONG).value
    assert section.figure(f"correlation of {sizes.GIVEN}, all", sizes.WRONG).value < 0.2 < 0.4 < other
    row = next(row for row in section.tables[0].rows if row[0] == f"correlation of {sizes.GIVEN}, all")
    assert row[5] == "nan"  # a copy has nothing beyond the size before


def test_findings_that_changed_are_judged_by_themselves():
    given = known(0.5)
    change = given.after - given.before
    moved = np.abs(change) > 0.15 * given.before
    rows = {row[0]: row for row in sizes.summary(given, 100).tables[1].rows}
    _, same, diff, direction = rows.values()
    assert [int(row[1]) for row in rows.values()] == [120, (~moved).sum(), moved.sum(), moved.sum()]
    assert float(diff[3]) == pytest.approx(np.abs(given.seen[sizes.DRAWN] - change)[moved].mean(), abs=5e-4)
    assert float(diff[5]) == pytest.approx(np.abs(change)[moved].mean(), abs=5e-4)  # a copy's
    assert float(diff[6]) < 0 < float(same[6])  # where nothing moves a copy is best
    assert float(direction[3]) > 0.8 and 0.3 < float(direction[4]) < 0.7 and float(direction[5]) == 0


def test_other_events_as_good_as_ones_own_is_no_proof():
    given = known(0.5)
    given.seen[sizes.WRONG][:] = given.seen[sizes.DRAWN]
    assert sizes.summary(given, 100).verdicts[0].kind == "unclear"


def test_a_regression_gives_back_what_it_was_fitted_to():
    generator = np.random.default_rng(1)
    table = pd.DataFrame({"before": generator.random(50) + 0.5, "area": 0.05, "shown": 0.5, "patient": np.arange(50)})
    table = table.assign(target=generator.normal(0, 0.1, 50))
    table = table.assign(after=table["before"] + 3 * table["target"], generated=table["target"], generated_wrong=0.0)
    found = sizes._sizes(table, "edema", sizes._fit(table))
    change = found.after - found.before
    assert np.corrcoef(found.seen[sizes.REAL], change)[0, 1] > 0.999 and not found.seen[sizes.WRONG].any()
    np.testing.assert_allclose(found.seen[sizes.REAL], change, atol=0.02)


def test_data_without_findings_is_refused(tmp_path):
    with pytest.raises(UserError, match="no finding that events change"):
        sizes._joined([], tmp_path / "follow_ups.csv")
