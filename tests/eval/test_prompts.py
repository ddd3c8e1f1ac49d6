"""The table of a held-out split's prompts: what it says, what it never says, and that it can be drawn."""

import pandas as pd
import pytest

from gen.errors import UserError
from gen.eval.prompts import write_prompts
from gen.sample.request import Request, expand, read_table

SECRET = "Mrs Miller's pacemaker is new"


@pytest.fixture
def index(tmp_path):
    rows = [
        ("a", "train", "PA", "M", 50.0, "Mass", True),
        ("b", "test", "PA", "F", 64.0, "Cardiomegaly;Pleural Effusion", True),
        ("c", "test", "UNKNOWN", "", None, "", False),
        ("d", "test", "AP", "M", 0.5, "No Finding", True),
        ("e", "val", "AP", "M", 30.0, "Nodule", True),
    ]
    names = ("patient_id", "split", "view", "sex", "age", "findings", "may_ship")
    table = pd.DataFrame(rows, columns=names).assign(report=SECRET, age_group=["adult"] * 2 + ["child"] * 2 + ["adult"])
    table.insert(0, "image", [f"{name}.png" for name in table["patient_id"]])
    table.to_csv(tmp_path / "index.csv", index=False)
    return tmp_path / "index.csv"


def written(index, **changed):
    settings = {"split": "test", "each": 2, "may_ship_only": False, "most": None, "wording": "plain", "seed": 0}
    out = index.parent / "prompts.csv"
    count = write_prompts(index, out, **settings | changed)
    table = pd.read_csv(out, dtype=str, keep_default_na=False)
    assert len(table) == count
    return out, table


def test_every_held_out_radiograph_is_said_in_words(index):
    _, table = written(index)
    assert table["prompt"].tolist()[0] == (
        "PA chest radiograph of a 64-year-old woman with cardiomegaly and a pleural effusion."
    )
    assert table["view"].tolist() == ["PA", "", "AP"] and table["sex"].tolist() == ["F", "", "M"]
    assert "child" in table["prompt"][1] and "6-month-old" in table["prompt"][2]
    assert set(table["n"]) == {"2"}


@pytest.mark.parametrize("wording", ["plain", "templates"])
def test_no_word_of_a_report_and_no_patient_gets_in(index, wording):
    out, table = written(index, wording=wording)
    assert "Miller" not in out.read_text()
    assert set(table.columns) == {"prompt", "view", "sex", "age", "findings", "n"}


@pytest.mark.parametrize("wording", ["plain", "templates"])
def test_cxr_sample_takes_it_and_adds_nothing(index, wording):
    out, table = written(index, wording=wording)
    items = expand(read_table(out, Request()), 0)
    assert [item.prompt for item in items] == [prompt for prompt in table["prompt"] for _ in range(2)]
    assert len({item.seed for item in items}) == 6


def test_templates_vary_with_the_seed_alone(index):
    first, again, other = (written(index, wording="templates", seed=seed)[1]["prompt"].tolist() for seed in (0, 0, 1))
    assert first == again != other


def test_rows_may_be_fewer(index):
    assert len(written(index, may_ship_only=True)[1]) == 2
    assert len(written(index, most=1)[1]) == 1


@pytest.mark.parametrize(("changed", "said"), [({"split": "train"}, "make a plan"), ({"split": "tset"}, "test")])
def test_a_split_that_is_not_held_out_is_refused(index, changed, said):
    with pytest.raises(UserError, match=said):
        written(index, **changed)


def test_an_empty_split_is_refused(index):
    table = pd.read_csv(index)
    table[table["split"] != "val"].to_csv(index, index=False)
    with pytest.raises(UserError, match="no rows"):
        written(index, split="val")
