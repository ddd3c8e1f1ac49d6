"""Plans: the numbers that were asked for, from the training rows alone, and the same every time."""

from collections import Counter

import numpy as np
import pandas as pd
import pytest

from gen.data.compose import attributes
from gen.data.index import write_index
from gen.sample.targets import Group, shared_out

SECRET = "zebedee"


@pytest.fixture
def index(tmp_path):
    """Forty patients with uneven findings and sexes; what the test split says must not leak."""
    labels = ["No Finding"] * 18 + ["Edema"] * 6 + ["Edema;Cardiomegaly"] * 4 + ["Pneumothorax"] * 2
    rows = [{"findings": label, "split": "train", "report": "FINDINGS: The ___ lungs are clear."} for label in labels]
    rows += [{"findings": "Hernia", "split": split, "report": f"{SECRET} hernia."} for split in ("val", "test") * 5]
    table = pd.DataFrame(rows)
    table["patient_id"] = table["image"] = [f"{number:02d}" for number in range(len(table))]
    table["sex"], table["age"] = ["M", "M", "F", "M"] * 10, np.arange(30.0, 70.0)
    table["view"] = ["PA", "AP"] * 20
    write_index(table, tmp_path / "index.parquet")
    return tmp_path / "index.parquet"


@pytest.fixture
def plan(cxr_sample, tmp_path):
    """Run `cxr-sample plan` and read what it wrote."""

    def run(*arguments) -> pd.DataFrame:
        code, _, err = cxr_sample("plan", "--out", tmp_path / "plan.parquet", *arguments)
        assert code == 0, err
        return pd.read_parquet(tmp_path / "plan.parquet")

    return run


def counts(table: pd.DataFrame) -> Counter:
    return Counter(label for text in table["findings"] for label in text.split(";"))


def test_a_target_gets_exactly_what_it_asks_for(plan, tmp_path):
    target = tmp_path / "target.yaml"
    target.write_text(
        "groups:\n"
        "- {n: 10, findings: effusion, view: {PA: 2, AP: 1}, sex: [M, F], age: [18-40, 40-90]}\n"
        "- {n: 3, prompt: Large left pneumothorax., age: 61}\n"
        "- {n: 2, findings: Edema;Cardiomegaly, age: 0-1}\n"
    )
    table = plan("--target", target)
    assert len(table) == 15 and table["id"].is_unique and table["seed"].is_unique
    assert counts(table) == {"Pleural Effusion": 10, "Pneumothorax": 3, "Edema": 2, "Cardiomegaly": 2}
    first = table[table["source"] == "target 1"]
    assert Counter(first["view"]) == {"PA": 6, "AP": 4} and set(first["age"].between(18, 89)) == {True}
    free = table[table["source"] == "target 2, free words"]
    assert len(free) == 3 and free["prompt"].str.contains("Large left pneumothorax.").all() and set(free["age"]) == {61}
    assert (table[table["source"] == "target 3"]["age"] < 1).all()


def test_prompts_say_the_condition(plan, tmp_path):
    target = tmp_path / "target.csv"
    target.write_text("n,findings,view,sex,age\n30,Edema;Pneumothorax,PA|AP,M|F,20-80\n")
    for row in plan("--target", target).to_dict("records"):
        said = attributes(row["prompt"])
        assert {name: said[name] for name in ("view", "sex", "age")} == {n: row[n] for n in ("view", "sex", "age")}
        assert set(said["findings"].split(";")) == {"Edema", "Pneumothorax"}


def test_the_largest_remainders_get_the_rest():
    group = Group(n=7, view={"PA": 3, "AP": 1}, sex=["M", "F"])
    assert list(shared_out(group).values()) == [3, 2, 1, 1]
    assert sum(shared_out(Group(n=1, view=["PA", "AP", "LATERAL"])).values()) == 1


def test_every_class_is_brought_to_the_same_number(plan, index):
    table = plan("--index", index, "--each", 25)
    real = pd.read_parquet(index)
    together = counts(table) + counts(real[real["split"] == "train"])
    assert together == dict.fromkeys(("No Finding", "Edema", "Cardiomegaly", "Pneumothorax"), 25)
    assert "Edema;Cardiomegaly" in set(table["findings"])  # as patients have them


def test_sexes_are_made_equal_within_each_finding(plan, index):
    table = plan("--index", index, "--equal-sexes")
    real = pd.read_parquet(index).query("split == 'train'")
    for label in ("No Finding", "Edema", "Cardiomegaly", "Pneumothorax"):
        sexes = Counter(
            row["sex"]
            for row in [*table.to_dict("records"), *real.to_dict("records")]
            if label in row["findings"].split(";")
        )
        assert sexes["M"] == sexes["F"]


def test_the_train_split_again_and_its_rare_ones_more(plan, index):
    table = plan("--index", index, "--copies", 1, "--rare-copies", 2, "--rare-below", 0.1)
    assert counts(table) == {"No Finding": 18, "Edema": 10, "Cardiomegaly": 4, "Pneumothorax": 6}
    assert set(table["view"]) == {"PA", "AP"} and table["source"].str.fullmatch("train from [0-9a-f]{12}").all()


def test_reports_are_those_of_the_train_split_without_marks(plan, index):
    table = plan("--index", index, "--copies", 3, "--prompts", "reports")
    assert not table["prompt"].str.contains(SECRET, case=False).any() and "Hernia" not in counts(table)
    assert table["prompt"].str.contains("lungs are clear").all() and not table["prompt"].str.contains("_").any()
    assert table["source"].str.endswith(", report").all()
    # a report that no longer fits is not used
    table = plan("--index", index, "--equal-sexes", "--prompts", "reports")
    changed = table[~table["source"].str.endswith(", report")]
    assert len(changed) and not changed["prompt"].str.contains("lungs are clear").any()


def test_the_same_command_gives_the_same_bytes(cxr_sample, index, tmp_path):
    def written(name, seed):
        options = ("--index", index, "--each", 30, "--equal-sexes", "--copies", 2)
        assert cxr_sample("plan", "--out", tmp_path / name, "--seed", seed, *options)[0] == 0
        return (tmp_path / name).read_bytes()

    assert written("a", 1) == written("b", 1) != written("c", 2)


def test_dry_run(cxr_sample, index, tiny_pipeline_dir, tmp_path):
    run = ("plan", "--index", index, "--copies", 100, "--dry-run")
    code, said, _ = cxr_sample(*run, "--images-per-second", 2, "--out", tmp_path / "plan.parquet")
    assert code == 0 and not (tmp_path / "plan.parquet").exists()
    lines = [line.split() for line in said.splitlines()]
    assert ["images", "3000"] in lines and ["findings", "No", "Finding", "1800"] in lines
    assert ["Cardiomegaly", "400"] in lines and ["view", "PA", "1500"] in lines and ["age", "18-39", "1000"] in lines
    assert "time about 0.42 h for one process at 2 images/s" in said and "disk about 0.07 GiB" in said
    measure = ("--measure", "--model", tiny_pipeline_dir, "--steps", 1, "--device", "cpu", "--format", "webdataset")
    assert "measured on 8 images of cxr-gen" in cxr_sample(*run, *measure)[1]


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("n,findings\n5,Cardiomegly\n", "row 1: findings: no finding 'Cardiomegly' is known; Cardiomegaly?"),
        ("n,findings\n5,Edema\n0,Edema\n", "row 2: n: Input should be greater than 0"),
        ("n,view\n5,LL\n", "row 1: view: 'LL' is not one; it takes PA"),
        ("n,age\n5,80-20\n", "row 1: age: '80-20' is not one"),
        ("n,colour\n5,red\n", "row 1: colour: Extra inputs"),
        ("findings\nEdema\n", "row 1: n: Field required"),
        ("n,findings\n", "the table: "),
    ],
)
def test_bad_targets(cxr_sample, tmp_path, target, words):
    (tmp_path / "target.csv").write_text(target)
    code, _, err = cxr_sample("plan", "--target", tmp_path / "target.csv", "--out", tmp_path / "plan.parquet")
    assert code == 2 and words in err and "target.csv" in err and err.count("\n") == 1
    assert not (tmp_path / "plan.parquet").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "give --target FILE, or --index FILE"),
        (("--each", 5, "--target", "t.csv"), "need --index FILE"),
        (("--index", "index.parquet"), "say what to do with it"),
        (("--index", "nowhere.parquet", "--each", 5), "nowhere.parquet: no such index"),
        (("--target", "nowhere.csv"), "nowhere.csv: no such target file"),
    ],
)
def test_bad_options(cxr_sample, tmp_path, arguments, words):
    code, _, err = cxr_sample("plan", "--out", tmp_path / "plan.parquet", *arguments)
    assert code == 2 and words in err and err.count("\n") == 1


def test_a_balanced_index_needs_nothing(cxr_sample, index, tmp_path):
    code, _, err = cxr_sample("plan", "--index", index, "--each", 1, "--out", tmp_path / "plan.parquet")
    assert code == 2 and "nothing to plan" in err
