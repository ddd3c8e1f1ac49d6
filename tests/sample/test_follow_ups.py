"""cxr-sample temporal and follow-ups: one radiograph's futures, and pairs of held-out patients for cxr-eval."""

import csv
import io
import shutil

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from gen.data.events import read_cell
from gen.data.index import write_index
from gen.provenance import read_record
from gen.sample.follow_pairs import exchanged


def drawn(place):
    Image.fromarray(np.random.default_rng(list(place.stem.encode())).integers(0, 255, (32, 32), dtype=np.uint8)).save(
        place
    )
    return str(place)


@pytest.fixture
def wards(tmp_path):
    """Two patients of a hospital that tells days, three visits each, and two of one that tells only the order."""
    rows = []
    for patient in "abcd":
        for visit in range(3):
            where = {"offset_days": float(visit), "followup_number": None} if patient in "ab" else {}
            where = where or {"offset_days": None, "followup_number": str(9 + visit)}
            row = {"image": drawn(tmp_path / f"{patient}{visit}.png"), "patient_id": patient, **where}
            rows.append(row | {"study_id": f"{patient}_{visit}", "source": "days" if patient in "ab" else "order"})
    table = pd.DataFrame(rows).assign(split="test", view="PA", sex="F", age=60.0, findings="Cardiomegaly")
    write_index(table, tmp_path / "index.parquet")
    events = [(patient, 6.0, "furosemide", 40.0, "mg") for patient in "ab"] + [("a", 30.0, "crp", 90.0, "mg/l")]
    table = pd.DataFrame(events, columns=["patient_id", "hour", "code", "value", "unit"])
    table.to_parquet(tmp_path / "events.parquet")
    return tmp_path / "index.parquet"


@pytest.fixture
def follow_ups(cxr_sample, tiny_temporal_dir, tmp_path):
    """`cxr-sample follow-ups` into a folder, and its table."""

    def run(index, *arguments):
        out = tmp_path / "out"
        command = ("follow-ups", "--index", index, "--model", tiny_temporal_dir, "--out", out, "--steps", 1)
        code, text, err = cxr_sample(*command, "--device", "cpu", *arguments)
        table = out / "follow_ups.csv"
        return code, text, err, list(csv.DictReader(table.open())) if table.is_file() else []

    return run


def test_pairs_of_two_hospitals(follow_ups, wards, tmp_path):
    code, text, err, rows = follow_ups(wards, "--consecutive", "--low-memory")
    assert code == 0, err
    said = [(row["study_id"], row["prior_study"], row["gap_hours"]) for row in rows]
    days = [(f"{patient}_{visit + 1}", f"{patient}_{visit}", "24.0") for patient in "ab" for visit in range(2)]
    assert said[:4] == days and [row[2] for row in said[4:]] == [""] * 4
    assert said[4:6] == [("c_1", "c_0", ""), ("c_2", "c_1", "")]  # 9, 10, 11: by number, not by letters
    assert "8 pairs, 3 with events" in text and "cxr-eval temporal --table" in text
    assert "1 of 3 events have codes" in err and "not trained with (crp)" in err and "it knows: furosemide" in err
    for row in rows:
        right, wrong = (read_record(tmp_path / "out" / row[kind]) for kind in ("generated", "generated_wrong"))
        assert right.seed == wrong.seed and right.synthetic
    with Image.open(tmp_path / "out" / "strips.png") as sheet:
        assert sheet.width > 4 * 256


def test_several_futures_of_every_pair(follow_ups, wards, tmp_path):
    code, _, err, rows = follow_ups(wards, "--source", "days", "--futures", 3)
    assert code == 0, err
    seeds = [
        [read_record(tmp_path / "out" / row[kind]).seed for kind in ("generated", "generated_2", "generated_3")]
        for row in rows
    ]
    assert len({seed for row in seeds for seed in row}) == 3 * len(rows)
    code, _, err, fewer = follow_ups(wards, "--source", "days")
    assert code == 0 and [row["generated"] for row in fewer] == [row["generated"] for row in rows]


def test_some_sources_and_a_few_pairs(follow_ups, wards):
    code, _, err, rows = follow_ups(wards, "--source", "order", "--n", 3)
    assert code == 0 and len(rows) == 3 and {row["patient"] for row in rows} <= {"c", "d"} and err.count("codes") == 0
    code, _, err, _ = follow_ups(wards, "--source", "days,nights")
    assert code == 2 and "split 'test' has no rows of source 'nights'; choose from days, order" in err


def test_every_pair_has_its_own_file_where_studies_are_not_told(follow_ups, wards, tmp_path):
    table = pd.read_parquet(wards)
    table.assign(study_id="").to_parquet(wards)
    _, _, err, rows = follow_ups(wards)
    assert len({row["generated"] for row in rows}) == len(rows) == 12, err
    shutil.rmtree(tmp_path / "out")
    table.drop(columns="study_id").to_parquet(wards)
    assert len({row["generated"] for row in follow_ups(wards)[3]}) == 12


def test_the_same_command_goes_on_and_another_is_refused(follow_ups, wards, tmp_path):
    assert follow_ups(wards, "--source", "days")[0] == 0
    first, *others = sorted((tmp_path / "out" / "images").iterdir())
    bits, times = first.read_bytes(), [path.stat().st_mtime_ns for path in others]
    first.unlink()
    assert follow_ups(wards, "--source", "days", "--batch-size", 8)[0] == 0
    assert first.is_file() and times == [path.stat().st_mtime_ns for path in others]
    assert np.array_equal(np.asarray(Image.open(first)), np.asarray(Image.open(io.BytesIO(bits))))
    for options, said in (
        (("--seed", 1), "seed 0, not 1"),
        (("--guidance", 2), "guidance '1.0'"),
        (("--n", 2), "pairs"),
    ):
        code, _, err, _ = follow_ups(wards, "--source", "days", *options)
        assert code == 2 and f"holds images of {said}" in err and "give another --out" in err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--history", -1), "--history"),
        (("--n", 0), "--n"),
        (("--steps", 0), "--steps"),
        (("--split", "val"), "no patient of split 'val' has two frontal images"),
        (("--attention", "xformers"), "--attention xformers: runs on a GPU only"),
    ],
)
def test_misfits_are_refused(follow_ups, wards, options, said):
    code, _, err, rows = follow_ups(wards, *options)
    assert code == 2 and said in err and not rows


def test_another_patients_events_are_of_the_same_hospital():
    cells = [f'[[1.0,"{code}",null,""]]' for code in "wxyz"]
    pairs = pd.DataFrame({"patient_id": list("abcd"), "events": cells, "source": ["s", "s", "t", "t"]})
    pairs["gap_hours"] = [24.0, 48.0, 24.0, np.nan]
    other = [read_cell(cell)[0].code for cell in exchanged(pairs, 0)]
    assert [set(other[:2]), set(other[2:])] == [{"w", "x"}, {"y", "z"}]
    assert other == ["x", "w", "z", "y"]


def test_futures_by_any_execution(cxr_sample, tiny_temporal_dir, tmp_path):
    prior, events = drawn(tmp_path / "prior.png"), tmp_path / "events.csv"
    events.write_text("hour,code,value,unit\n6,furosemide,40,mg\n")
    command = ("temporal", "--prior", prior, "--at", "24h", "--events", events, "--model", tiny_temporal_dir)
    command = (*command, "--steps", 1, "--n", 2, "--device", "cpu")
    images = []
    exact = ("--dtype", "float32")
    for name, options in (("plain", exact), ("low", ("--low-memory", *exact)), ("half", ("--dtype", "bfloat16"))):
        code, _, err = cxr_sample(*command, "--out", tmp_path / name, *options)
        assert code == 0, err
        images.append([np.asarray(Image.open(path)) for path in sorted((tmp_path / name).glob("future_*.png"))])
    assert len(images[0]) == 2 and np.abs(np.int16(images[0]) - np.int16(images[1])).max() <= 1
    assert 0 < np.abs(np.int16(images[0]) - np.int16(images[2])).mean() < 4  # of a model with random weights
    code, _, err = cxr_sample(*command, "--out", tmp_path / "no", "--attention", "xformers")
    assert code == 2 and "--attention xformers: runs on a GPU only" in err and not (tmp_path / "no").exists()
    events.write_text("hour,code,value,unit\n6,furosemide,40,mg\n8,heparin,5000,IU\n")
    code, _, err = cxr_sample(*command, "--out", tmp_path / "other")
    assert code == 0 and "1 of 2 events have codes that tiny-futures was not trained with (heparin)" in err


def test_bones_by_any_execution(cxr_sample, tiny_bone_dir, tmp_path):
    Image.fromarray(np.full((160, 160), 90, np.uint8)).save(tmp_path / "chest.png")
    command = ("bone", tmp_path / "chest.png", "--model", tiny_bone_dir, "--steps", 1, "--device", "cpu", "--anyway")
    soft = []
    for name, options in (("plain", ()), ("low", ("--low-memory",))):
        code, text, err = cxr_sample(*command, "--out", tmp_path / name, *options)
        assert code == 0 and "1 soft-tissue images" in text, err
        soft.append(np.asarray(Image.open(tmp_path / name / "chest.png")))
    assert np.abs(np.int16(soft[0]) - np.int16(soft[1])).max() <= 1
    code, _, err = cxr_sample(*command, "--out", tmp_path / "no", "--attention", "xformers")
    assert code == 2 and "--attention xformers: runs on a GPU only" in err
