"""What an evaluation refuses to start on, in one line that names the file, the row and the remedy."""

import shutil

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from gen.errors import UserError
from gen.eval.evaluation import Options, prepare
from gen.eval.inputs import read_synthetic


def refused(tables, tmp_path, match, **options):
    with pytest.raises(UserError, match=match) as error:
        prepare(Options(*tables, tmp_path / "out", networks=("random",), **options))
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out" / "metrics.json").exists()


def edit(path, change):
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    change(table).to_csv(path, index=False)


def picture(path, change):
    Image.fromarray(change(np.asarray(Image.open(path)))).save(path)


def made(copied_world, number):
    return copied_world[1].parent / f"made_{number:03d}.png"


def test_a_patient_in_two_splits(copied_world, tmp_path):
    edit(
        copied_world[0], lambda table: table.assign(patient_id=["p1"] * 2 + table["patient_id"].tolist()[2:-1] + ["p1"])
    )
    refused(copied_world, tmp_path, "patient 'p1' is in the splits test and train")


def test_one_file_in_two_splits(copied_world, tmp_path):
    folder = copied_world[0].parent
    shutil.copy(folder / "real_001.png", folder / "real_120.png")
    refused(copied_world, tmp_path, "1 files are in train and in test .*real_001.png is .*real_120.png")


def test_a_generator_that_saw_the_reference(copied_world, tmp_path):
    other = copied_world[0].parent / "trained.csv"
    shutil.copy(copied_world[0], other)
    edit(other, lambda table: table.assign(split="train"))
    refused(copied_world, tmp_path, "trained on 60 patients of the split 'test'", trained_on=other)


def test_real_files_listed_as_synthetic(copied_world, tmp_path):
    edit(copied_world[1], lambda table: table.assign(img_savename=["../real_005.png", *table["img_savename"][1:]]))
    refused(copied_world, tmp_path, "lists real radiographs as synthetic .*real_005.png")


def test_too_few(copied_world, tmp_path):
    edit(copied_world[1], lambda table: table.head(20))
    refused(copied_world, tmp_path, "20 images; an evaluation needs at least 50")


def test_too_few_real(copied_world, tmp_path):
    edit(copied_world[0], lambda table: table.assign(split=["train"] * 120 + ["test"] * 30))
    refused(copied_world, tmp_path, "30 images in split 'test'; an evaluation needs at least 50")


def test_a_missing_image(copied_world, tmp_path):
    made(copied_world, 7).unlink()
    refused(copied_world, tmp_path, "row 8: no such image file .*made_007.png")


def test_several_sizes(copied_world, tmp_path):
    picture(made(copied_world, 9), lambda pixels: pixels[:48, :48])
    refused(copied_world, tmp_path, r"images of 2 sizes: 64 x 64 \(made_000.png\), 48 x 48 \(made_009.png\)")


def test_inverted_images(copied_world, tmp_path):
    for number in range(40):
        picture(made(copied_world, number), lambda pixels: 255 - pixels)
    refused(copied_world, tmp_path, r"40 of 60 images look inverted .*set its column inverted")


def test_blank_images(copied_world, tmp_path):
    for number in range(40):
        picture(made(copied_world, number), lambda pixels: pixels * 0)
    refused(copied_world, tmp_path, "40 of 60 images look blank")


def test_a_few_inverted_images_are_remarked(copied_world, tmp_path):
    for number in (4, 5):
        picture(made(copied_world, number), lambda pixels: 255 - pixels)
    _, record = prepare(Options(*copied_world, tmp_path / "out", networks=("random",)))
    assert any(
        "2 of 60 synthetic images look inverted" in remark and "made_004.png" in remark for remark in record["remarks"]
    )


def test_a_column_inverted_mends_them(copied_world, tmp_path):
    for number in range(60):
        picture(made(copied_world, number), lambda pixels: 255 - pixels)
    edit(copied_world[1], lambda table: table.assign(inverted="yes"))
    _, record = prepare(Options(*copied_world, tmp_path / "out", networks=("random",)))
    assert not any("inverted" in remark for remark in record["remarks"])


def test_no_manifest_and_no_image_column(copied_world, tmp_path):
    none = "neither manifest.parquet nor manifest.csv nor prompts.csv nor index.parquet in this folder"
    refused((copied_world[0], tmp_path), tmp_path, none)
    refused((copied_world[0], tmp_path / "absent.csv"), tmp_path, "absent.csv: no such manifest")
    edit(copied_world[1], lambda table: table.rename(columns={"img_savename": "file"}))
    refused(copied_world, tmp_path, "neither column image nor img_savename")


def test_a_row_twice(copied_world, tmp_path):
    edit(copied_world[1], lambda table: pd.concat([table, table.head(1)]))
    refused(copied_world, tmp_path, "row 61: .*made_000.png is listed before")


def test_labels_come_from_the_prompt_where_the_table_has_none(copied_world):
    prompt = "AP chest radiograph of a 70-year-old woman with cardiomegaly."
    edit(copied_world[1], lambda table: table[["img_savename"]].assign(prompt=prompt))
    first = read_synthetic(copied_world[1]).iloc[0]
    assert (first["view"], first["sex"], first["age"], first["findings"]) == ("AP", "F", 70, "Cardiomegaly")


def test_parquet_folder_and_csv_are_the_same_table(copied_world):
    table = read_synthetic(copied_world[1])
    stored = pd.read_csv(copied_world[1], dtype=str, keep_default_na=False)
    stored.to_parquet(copied_world[1].with_suffix(".parquet"))
    copied_world[1].unlink()
    again = read_synthetic(copied_world[1].parent)
    pd.testing.assert_frame_equal(again, table)
