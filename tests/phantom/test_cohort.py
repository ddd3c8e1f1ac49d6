import json
import sys

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from gen.data.index import check_index, read_index
from gen.phantom import cli
from gen.phantom.cohort import BITS, Plan, read_mask
from gen.phantom.realism import histogram, measured, power
from gen.provenance import read_record


@pytest.fixture
def run(monkeypatch, capsys):
    """Run cxr-index in this process: (exit code, stdout, stderr)."""

    def call(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["cxr-index", *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            cli.main()
        out, err = capsys.readouterr()
        return caught.value.code or 0, out, err

    return call


def contents(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_a_data_set_end_to_end_and_again(run, tmp_path):
    command = ("phantom", "--n", 7, "--size", 64, "--seed", 2, "--views", "pa,lateral", "--out")
    code, text, _ = run(*command, tmp_path / "a")
    assert code == 0 and "index.parquet" in text
    index = read_index(tmp_path / "a" / "index.parquet")
    assert len(index) == 7 and not check_index(index) and set(index["view"]) == {"PA", "LATERAL"}
    assert index["may_ship"].all() and set(index["source"]) == {"phantom"} and set(index["width"]) == {64}
    row = index.iloc[0]
    record = read_record(row["image"])
    assert record.synthetic and record.prompt == row["prompt"] and "SYNTHETIC" in record.notice
    for column in ("soft", "bone", "masks"):
        assert read_record(tmp_path / "a" / row[column]).seed == record.seed
    assert read_mask(tmp_path / "a" / row["masks"], "lung_left").mean() > 0.05
    assert json.loads((tmp_path / "a" / "masks.json").read_text()) == BITS
    before = contents(tmp_path / "a")
    victim = index["patient_id"].iloc[-1]
    (tmp_path / "a" / "records" / f"{victim}.json").unlink()
    for path in (tmp_path / "a" / "images").glob(f"{victim}*"):
        path.unlink()
    assert run(*command, tmp_path / "a")[0] == 0
    assert contents(tmp_path / "a") == before  # resumed, bit for bit


def test_follow_ups_have_events_and_findings(run, tmp_path):
    seed = next(s for s in range(100) if (p := Plan(1, s, 32, ("PA",))).follows(next(p.patients())[1]))
    assert run("phantom", "--n", 3, "--size", 32, "--seed", seed, "--out", tmp_path / "a")[0] == 0
    index = read_index(tmp_path / "a" / "index.parquet")
    assert index["patient_id"].nunique() == 1 and index["offset_days"].tolist() == [0, 1, 3]
    events = pd.read_parquet(tmp_path / "a" / "events.parquet")
    assert list(events.columns) == ["patient_id", "hour", "code", "value", "unit"]
    findings = pd.read_parquet(tmp_path / "a" / "findings.parquet")
    assert {"kind", "size", "unit", "side", "lobe", "x", "pixels"} <= set(findings.columns)


def test_findings_are_as_frequent_as_they_are_asked_for(run, tmp_path):
    """One kind in all and one in none; patient and other findings stay as the seed has them."""
    found = {}
    for name, extra in (("usual", []), ("asked", ["--findings", "edema=1, effusion=0"])):
        arguments = ["--n", 8, "--size", 32, "--seed", 3, "--followed", 0, *extra]
        assert run("phantom", "--out", tmp_path / name, *arguments)[0] == 0
        found[name] = pd.read_parquet(tmp_path / name / "findings.parquet")
    asked = found["asked"]
    assert asked.loc[asked["kind"] == "edema", "image"].nunique() == 8 and "effusion" not in set(asked["kind"])
    others = [rows[~rows["kind"].isin(["edema", "effusion"])][["image", "name"]] for rows in found.values()]
    assert len(others[0]) and others[0].reset_index(drop=True).equals(others[1].reset_index(drop=True))
    again = run("phantom", "--n", 8, "--size", 32, "--seed", 3, "--followed", 0, "--out", tmp_path / "asked")
    assert again[0] == 2 and "holds findings" in again[2]


def test_plans_give_a_patient_the_same_seed_whatever_their_number():
    few, many = (list(Plan(n, 5, 64, ("PA",)).patients()) for n in (4, 9))
    assert few[:-1] == many[: len(few) - 1] and sum(count for *_, count in many) == 9


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("--n", 0), "--n 0"),
        (("--size", 100), "--size 100"),
        (("--views", "PA,SKYLINE"), "SKYLINE"),
        (("--views", "PA,PA"), "once"),
        (("--workers", 0), "--workers 0"),
        (("--findings", "edema=2"), "--findings edema=2: a share from 0 to 1"),
        (("--findings", "flu=0.5"), "of one or more of effusion,"),
        (("--findings", "edema"), "write kind=share"),
    ],
)
def test_bad_arguments_write_nothing(run, tmp_path, arguments, word):
    code, _, err = run("phantom", "--out", tmp_path / "a", *arguments)
    assert code == 2 and word in err and err.startswith("error: ") and err.count("\n") == 1
    assert not (tmp_path / "a").exists()


def test_another_data_set_or_a_full_folder_is_refused(run, tmp_path):
    assert run("phantom", "--n", 1, "--size", 32, "--out", tmp_path / "a")[0] == 0
    code, _, err = run("phantom", "--n", 1, "--size", 64, "--out", tmp_path / "a")
    assert code == 2 and "holds size 32, not 64" in err
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "thesis.txt").write_text("mine")
    code, _, err = run("phantom", "--n", 1, "--out", tmp_path / "b")
    assert code == 2 and "not empty" in err


def test_histogram_and_power_have_their_closed_forms():
    assert histogram(np.full((8, 8), 0.5))[16] == 1
    wave = np.sin(2 * np.pi * 8 * np.arange(64) / 64)[None] * np.ones((64, 1))
    assert power(wave).argmax() == 7  # 8 cycles an image
    noise = np.random.default_rng(0).normal(size=(64, 64))
    assert np.ptp(power(noise)[4:]) < 0.5
    same = measured([noise] * 3, [noise])
    assert {curves.share for curves in same.values()} == {1.0}


def test_check_against_real_images(run, tmp_path):
    pytest.importorskip("matplotlib")
    rng = np.random.default_rng(0)
    for k in range(20):
        Image.fromarray(rng.integers(0, 255, (48, 40), dtype=np.uint8)).save(tmp_path / f"{k}.png")
    table = pd.DataFrame({"image": [f"{k}.png" for k in range(20)], "patient_id": range(20), "split": "train"})
    table.to_csv(tmp_path / "real.csv", index=False)
    out = tmp_path / "plot.png"
    code, text, _ = run("phantom-check", "--real", tmp_path / "real.csv", "--out", out, "--n", 2, "--size", 64)
    assert code == 0 and "power spectrum" in text and out.stat().st_size > 1000
    table.head(5).to_csv(tmp_path / "few.csv", index=False)
    code, _, err = run("phantom-check", "--real", tmp_path / "few.csv", "--out", out)
    assert code == 2 and "at least 20" in err
    assert run("phantom-check", "--real", tmp_path / "real.csv", "--out", tmp_path / "plot.txt")[0] == 2
    code, _, err = run("phantom-check", "--real", tmp_path / "real.csv", "--split", "test", "--out", out)
    assert code == 2 and "0 frontal radiographs of split test" in err


def test_a_contact_sheet_shows_only_what_may_ship(run, tmp_path):
    for k, grey in enumerate((0, 200, 100)):
        Image.fromarray(np.full((40, 40), grey, np.uint8)).save(tmp_path / f"{k}.png")
    table = pd.DataFrame({"image": ["0.png", "1.png", "2.png"], "patient_id": range(3), "split": "train"})
    table.assign(source=["a", "a", "b"], may_ship=[False, True, True]).to_csv(tmp_path / "real.csv", index=False)
    command = ("phantom-sheet", "--real", tmp_path / "real.csv", "--size", 32, "--rows", 1, "--source", "a")
    assert run(*command, "--columns", 1, "--out", tmp_path / "sheet.png")[0] == 0
    sheet = np.asarray(Image.open(tmp_path / "sheet.png"))
    assert sheet.shape == (32, 32 + 8 + 32) and (sheet[:, :32] == 200).all() and np.ptp(sheet[:, 40:]) > 50
    code, _, err = run(*command, "--columns", 2, "--out", tmp_path / "more.png")
    assert code == 2 and "1 frontal radiographs of source a that may ship, at least 2" in err
    assert not (tmp_path / "more.png").exists()
