import errno
import os

import numpy as np
import pandas as pd
import pytest

from gen.data.index import assign_splits, check_index, fingerprint, read_index, typed, validate, write_index
from gen.data.sources import SOURCES, folder
from gen.data.sources.values import age, age_group, split, view
from gen.data.summary import summary
from gen.errors import UserError


@pytest.mark.parametrize("name", ["index.parquet", "index.csv"])
def test_what_is_written_is_read_again(tmp_path, table, name):
    write_index(table, tmp_path / name)
    read = read_index(tmp_path / name)
    pd.testing.assert_frame_equal(read, typed(table), check_column_type=False)
    assert read["patient_id"].iloc[0] == "007"
    assert np.isnan(read["age"].iloc[2])
    assert read["may_ship"].tolist() == [True, False, True, True]


def test_only_the_splits_asked_for(tmp_path, table):
    write_index(table, tmp_path / "i.csv")
    assert read_index(tmp_path / "i.csv", splits=["val", "test"])["patient_id"].tolist() == ["b", "c"]


def test_an_index_moves_with_its_images(tmp_path, table):
    write_index(table, tmp_path / "i.parquet")
    assert pd.read_parquet(tmp_path / "i.parquet")["image"].iloc[0] == "images/0.png"
    moved = tmp_path.with_name(tmp_path.name + "_moved")
    os.rename(tmp_path, moved)
    assert check_index(read_index(moved / "i.parquet")) == []


def test_columns_of_ones_own_are_kept(tmp_path, table):
    write_index(table.assign(creatinine=[1.0, 2.0, 3.0, 4.0]), tmp_path / "i.parquet")
    assert read_index(tmp_path / "i.parquet")["creatinine"].sum() == 10


def test_a_sound_table_has_no_problems(table):
    assert check_index(table) == []


@pytest.mark.parametrize("column", ["image", "patient_id", "split"])
def test_a_missing_column_is_named(tmp_path, table, column):
    table.drop(columns=column).to_csv(tmp_path / "i.csv", index=False)
    with pytest.raises(UserError, match=rf"i\.csv: column '{column}' is missing"):
        read_index(tmp_path / "i.csv")


@pytest.mark.parametrize(
    ("column", "row", "value", "message"),
    [
        ("view", 1, "OBLIQUE", "row 2: view 'OBLIQUE' is none of PA"),
        ("split", 3, "dev", "row 4: split 'dev' is none of train"),
        ("sex", 0, "X", "row 1: sex 'X'"),
        ("age", 2, 640.0, "row 3: age 640"),
        ("patient_id", 2, "", "row 3: patient_id is empty"),
        ("split", 1, "test", "patient '007' is in the splits test and train"),
    ],
)
def test_wrong_values_are_named_with_their_row(table, column, row, value, message):
    table.loc[row, column] = value
    with pytest.raises(UserError, match=f"^index: {message}"):
        validate(table)


def test_duplicate_and_missing_images_are_named(table):
    os.remove(table["image"][2])
    table.loc[1, "image"] = table["image"][0]
    problems = check_index(table)
    assert [problem.split(":")[0] for problem in problems] == ["row 2", "row 3"]
    assert "listed before" in problems[0] and "no such image file" in problems[1]


@pytest.mark.parametrize(("column", "value"), [("age", "sixty"), ("may_ship", "perhaps")])
def test_values_of_another_type(tmp_path, table, column, value):
    table[column] = table[column].astype(object)
    table.loc[1, column] = value
    table.to_csv(tmp_path / "i.csv", index=False)
    with pytest.raises(UserError, match=f"column {column} must hold .*; row 2 has '{value}'"):
        read_index(tmp_path / "i.csv")


def test_unreadable_files(tmp_path):
    with pytest.raises(UserError, match="no such index"):
        read_index(tmp_path / "none.parquet")
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(UserError, match=r"broken\.parquet: not a readable Parquet"):
        read_index(tmp_path / "broken.parquet")
    (tmp_path / "empty.csv").write_text("")
    with pytest.raises(UserError, match=r"empty\.csv: not a readable CSV"):
        read_index(tmp_path / "empty.csv")
    (tmp_path / "headers.csv").write_text("image,patient_id,split\n")
    with pytest.raises(UserError, match="no rows"):
        read_index(tmp_path / "headers.csv")


def test_a_failed_write_leaves_the_old_index(tmp_path, table, monkeypatch):
    write_index(table, tmp_path / "i.csv")
    before = (tmp_path / "i.csv").read_bytes()

    def full(*_args: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError) as caught:
        write_index(table.iloc[:1], tmp_path / "i.csv")
    assert caught.value.filename.endswith("i.csv")
    assert (tmp_path / "i.csv").read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["i.csv", "images"]


def test_splits_are_by_patient_stable_and_in_proportion():
    table = pd.DataFrame({"patient_id": [f"p{number // 3}" for number in range(9000)]})
    drawn = assign_splits(table, seed=1)
    assert drawn.groupby("patient_id")["split"].nunique().max() == 1
    shares = drawn["split"].value_counts(normalize=True)
    assert abs(shares["train"] - 0.8) < 0.03 and abs(shares["val"] - 0.1) < 0.02
    pd.testing.assert_series_equal(assign_splits(table.iloc[300:], seed=1)["split"], drawn["split"].iloc[300:])
    assert (assign_splits(table, seed=2)["split"] != drawn["split"]).any()
    with pytest.raises(ValueError, match="add up to 1"):
        assign_splits(table, fractions=(0.8, 0.3, 0.1))


def test_the_fingerprint_follows_content_not_place(tmp_path, table):
    elsewhere = table.assign(image=[f"elsewhere/{os.path.basename(image)}" for image in table["image"]])
    assert fingerprint(elsewhere) == fingerprint(table)
    assert len({fingerprint(table.assign(**change)) for change in ({}, {"findings": "Edema"}, {"sex": "F"})}) == 3
    write_index(table, tmp_path / "i.csv")
    write_index(table, tmp_path / "i.parquet")
    assert fingerprint(read_index(tmp_path / "i.csv")) == fingerprint(read_index(tmp_path / "i.parquet"))


def test_the_summary_counts(table):
    lines = {line.split("  ")[0]: line.split()[-1] for line in summary(table).splitlines() if line}
    assert lines["images"] == "4" and lines["patients"] == "3" and lines["split train"] == "2"
    assert "No Finding 4" in summary(table)


def test_spellings_of_other_data_sets():
    names = ("postero-anterior", "ap_supine", "LL", "frontal", "")
    assert [view(name) for name in names] == ["PA", "AP SUPINE", "LATERAL", "UNKNOWN", "UNKNOWN"]
    assert [age(text) for text in ("064Y", "18M", "71", " 3.5 ")] == [64, 1.5, 71, 3.5]
    assert np.isnan(age("")) and np.isnan(age("sixty"))
    assert [age_group(years) for years in (12.9, 13.0, float("nan"))] == ["child", "adult", ""]
    assert [split(name) for name in ("Valid", "training", "test", "fold1")] == ["val", "train", "test", "fold1"]


EXPECTED = {  # source: images, views, images of children
    "nih_cxr14": (1468, {"PA", "AP"}, 43),
    "nih_cxr14_more": (951, {"PA", "AP"}, 12),
    "hannover_mhh": (228, {"PA", "AP"}, 0),
    "kermany_paediatric": (408, {"AP"}, 408),
    "covid_chestxray": (261, {"PA", "AP", "AP SUPINE", "LATERAL", "UNKNOWN"}, 0),
    "bone_suppression": (10, {"PA"}, 0),
}


@pytest.mark.parametrize("name", EXPECTED)
def test_public_sources(shared_data, name):
    rows = SOURCES[name].read(shared_data / name).rows
    images, views, children = EXPECTED[name]
    assert (len(rows), set(rows["view"]), (rows["age_group"] == "child").sum()) == (images, views, children)
    assert check_index(rows) == []
    assert (rows["inverted"].sum() == 2) == (name == "nih_cxr14")


def test_a_folder_without_a_table(tmp_path, table):
    rows = folder.rows(tmp_path)
    assert len(rows) == 4 and set(rows["view"]) == {"UNKNOWN"}
    assert rows["patient_id"].nunique() == 4
    assert check_index(rows) == []


def test_a_folder_with_a_table_in_nih_words(tmp_path, table):
    csv = tmp_path / "Data_Entry.csv"
    csv.write_text(
        "Image Index,Finding Labels,Patient ID,Patient Age,Patient Gender,View Position\n"
        "0.png,Effusion|Pleural_Thickening,1,058Y,M,PA\n"
        "1,No Finding,1,3,F,AP\n"
    )
    rows = folder.rows(tmp_path, csv)
    assert rows["findings"].tolist() == ["Pleural Effusion;Pleural Thickening", "No Finding"]
    assert rows["age"].tolist() == [58, 3] and rows["age_group"].tolist() == ["adult", "child"]
    assert rows["patient_id"].tolist() == ["1", "1"] and rows["split"].nunique() == 1


def test_a_mapped_table_and_its_mistakes(tmp_path, table):
    csv = tmp_path / "t.csv"
    csv.write_text("scan,direction\n0.png,lateral\ngone.png,PA\n")
    with pytest.raises(UserError, match="no column with image names"):
        folder.rows(tmp_path, csv)
    with pytest.raises(UserError, match="'vieww' is no index column"):
        folder.rows(tmp_path, csv, {"vieww": "direction"})
    with pytest.raises(UserError, match="no column 'dir'"):
        folder.rows(tmp_path, csv, {"view": "dir"})
    columns = {"image": "scan", "view": "direction"}
    with pytest.raises(UserError, match=r"1 of 2 images .* \(row 2: 'gone\.png'\).*--skip-missing"):
        folder.rows(tmp_path, csv, columns)
    assert folder.rows(tmp_path, csv, columns, skip_missing=True)["view"].tolist() == ["LATERAL"]
    with pytest.raises(UserError, match="holds no images"):
        folder.rows(make(tmp_path / "empty"))


def make(path):
    path.mkdir()
    return path
