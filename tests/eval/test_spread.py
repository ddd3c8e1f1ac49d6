"""Deviation maps of futures whose errors are known, and the table that they come from."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from gen.errors import UserError
from gen.eval import spread

PAIRS, FUTURES = 24, 6


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """Drawings and truth vary by one law a pair: widely in a square of the patient's own, elsewhere little."""
    folder, generator = tmp_path_factory.mktemp("futures"), np.random.default_rng(0)
    rows = []
    for pair in range(PAIRS):
        scale = np.full((spread.SIDE, spread.SIDE), 3.0)
        top, left = (42 * place for place in divmod(pair // 2 % 9, 3))
        scale[top : top + 40, left : left + 40] = 8 + pair
        row = {"patient": f"p{pair // 2}"}
        for name in ("target", "generated", *(f"generated_{k}" for k in range(2, FUTURES + 1)), "generated_wrong"):
            pixels = 128 + scale * generator.normal(size=scale.shape)
            Image.fromarray(pixels.clip(0, 255).round().astype(np.uint8)).save(folder / f"{pair}_{name}.png")
            row[name] = f"{pair}_{name}.png"
        rows.append(row)
    pd.DataFrame(rows).to_csv(folder / "table.csv", index=False)
    return folder / "table.csv"


def test_futures_by_the_law_of_the_truth_are_calibrated(table):
    section = spread.measure_spread(table, 200)
    where = section.figure(spread.CORRELATION)
    assert where.low > where.control + 0.1 and where.n == PAIRS
    assert section.figure(spread.RATIO).value == pytest.approx(1, abs=0.03)
    assert section.figure(spread.COVERED).value == pytest.approx(0.95, abs=0.01)
    assert section.figure(spread.AMONG).value > 0.9
    one, mean = section.figure(spread.OF_ONE).value, section.figure(spread.OF_MEAN).value
    assert mean / one == pytest.approx(np.sqrt((1 + 1 / FUTURES) / 2), rel=0.02)
    assert section.verdicts[0].kind == "good" and f"{FUTURES} futures" in section.notes[0]


def test_futures_that_are_all_alike_are_told_so(table):
    rows = pd.read_csv(table)
    rows["generated_2"] = rows["generated"]
    rows[["patient", "target", "generated", "generated_2"]].to_csv(table.with_name("alike.csv"), index=False)
    section = spread.measure_spread(table.with_name("alike.csv"), 100)
    assert section.figure(spread.RATIO).value == 0 and section.figure(spread.COVERED).value < 0.2
    assert section.verdicts[0].kind == "bad"


def test_maps_of_the_wrong_places_are_told_so(table):
    rows = pd.read_csv(table)
    rows["target"] = np.roll(rows["target"], 2)
    rows.to_csv(table.with_name("exchanged.csv"), index=False)
    section = spread.measure_spread(table.with_name("exchanged.csv"), 200)
    assert section.figure(spread.CORRELATION).value < 0.1 and section.verdicts[0].kind == "bad"


def test_one_future_is_refused(table):
    pd.read_csv(table)[["patient", "target", "generated", "generated_wrong"]].to_csv(table.with_name("one.csv"))
    with pytest.raises(UserError, match=r"one\.csv: one future a pair; draw several with cxr-sample follow-ups"):
        spread.measure_spread(table.with_name("one.csv"))
