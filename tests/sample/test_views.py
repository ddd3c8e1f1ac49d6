"""cxr-sample for views: a study on the command line and in tables, pairs of held-out studies, inpainting."""

import csv
import json

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from gen.data.index import read_index, write_index
from gen.provenance import read_record

PROMPT = "Chest radiograph of a 60-year-old woman."


@pytest.fixture
def pictures(tmp_path):
    """Four images."""
    places = [tmp_path / f"{number}.png" for number in range(4)]
    for number, place in enumerate(places):
        Image.fromarray(np.random.default_rng(number).integers(0, 255, (32, 32), dtype=np.uint8)).save(place)
    return places


@pytest.fixture
def draw_view(cxr_sample, tiny_view_dir):
    def run(*arguments):
        return cxr_sample("image", "--model", tiny_view_dir, "--steps", 2, "--device", "cpu", *arguments)

    return run


def test_a_study_on_the_command_line(draw_view, manifest, pictures, tmp_path):
    out, study = tmp_path / "set", ["--study", pictures[0], "--study-view", "PA"]
    given = ("--prompt", PROMPT, "--view", "LATERAL", "--out", out)
    assert draw_view(*given, *study)[0] == 0
    (row,) = manifest(out)
    assert row["study"] == str(pictures[0]) and row["study_view"] == "PA" and row["view"] == "LATERAL"
    assert read_record(out / row["img_savename"]).given.startswith("PA ")
    assert draw_view(*given, *study)[0] == 0  # goes on where it is
    code, _, err = draw_view(*given, "--study", pictures[1], "--study-view", "PA")
    assert code == 2 and "was drawn with study" in err
    assert draw_view(*given)[0] == 2  # nor without one


def test_a_table_of_studies(draw_view, manifest, pictures, tmp_path):
    rows = {"prompt": [PROMPT] * 3, "view": ["LATERAL", "AP", "PA"], "study": ["0.png|1.png", "", "2.png"]}
    rows |= {"study_view": ["PA|-30", "", ""], "angle": ["", "", "12.5"], "patient_id": ["a", "b", "c"]}
    pd.DataFrame(rows).to_csv(tmp_path / "table.csv", index=False)
    assert draw_view("--table", tmp_path / "table.csv", "--out", tmp_path / "set")[0] == 0
    first, second, third = manifest(tmp_path / "set")
    assert first["study"] == f"{tmp_path / '0.png'}|{tmp_path / '1.png'}" and first["study_view"] == "PA|-30"
    assert "; -30 " in read_record(tmp_path / "set" / first["img_savename"]).given
    assert (second["study"], second["angle"], third["angle"], third["patient_id"]) == ("", "", "12.5", "c")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--view", "SIDE"), "view=SIDE: one of"),
        (("--study", "none.png"), "no such image file none.png"),
        (("--study", "0.png", "--study-view", "SIDE"), "study_view 'SIDE': one of"),
        (("--study", "0.png", "--study-view", "-400"), "study_view '-400': degrees"),
        (("--study", "0.png", "--study-view", "PA", "--study-view", "AP"), "2 views for 1 images"),
        (tuple(word for n in range(4) for word in ("--study", f"{n}.png")), "study: 4 images; at most 3"),
    ],
)
def test_misfits_are_refused(draw_view, pictures, tmp_path, monkeypatch, arguments, said):
    monkeypatch.chdir(tmp_path)
    code, _, err = draw_view("--prompt", PROMPT, "--out", "set", *arguments)
    assert code == 2 and said in err and len(err.strip().splitlines()) == 1 and not (tmp_path / "set").exists()


def test_images_of_two_patients_are_refused(draw_view, pictures, tmp_path):
    rows = pd.DataFrame({"image": [str(place) for place in pictures[:3]], "patient_id": ["a", "a", "b"]})
    write_index(rows.assign(study_id=list("stu"), split="test", view="PA"), tmp_path / "index.csv")
    given = ("--prompt", PROMPT, "--view", "LATERAL", "--index", tmp_path / "index.csv", "--study", pictures[0])
    assert draw_view(*given, "--study", pictures[1], "--out", tmp_path / "own")[0] == 0
    for other, said in ((2, f"images of 2 patients ({pictures[0]} of a and"), (3, "3.png is not in this index")):
        code, _, err = draw_view(*given, "--study", pictures[other], "--out", tmp_path / "no")
        assert code == 2 and said in err and not (tmp_path / "no").exists()


def test_a_text_model_and_another_patient_are_refused(draw, draw_view, pictures, tmp_path):
    code, _, err = draw("--prompt", PROMPT, "--study", pictures[0], "--out", tmp_path / "set")
    assert code == 2 and "study: cxr-gen is of task text; give a view model with --model" in err
    table = pd.DataFrame({"prompt": [PROMPT] * 2, "study": ["0.png"] * 2, "patient_id": ["a", "b"]})
    table.to_csv(tmp_path / "table.csv", index=False)
    code, _, err = draw_view("--table", tmp_path / "table.csv", "--out", tmp_path / "set")
    assert code == 2 and "row 2: study image" in err and "is of patient a" in err and "not of b" in err


@pytest.fixture
def studies(tmp_path):
    """An index of five patients with a PA and a lateral view, and one with a third view."""
    rows = []
    for number in range(11):
        place = tmp_path / f"s{number}.png"
        Image.fromarray(np.random.default_rng(number).integers(0, 255, (32, 32), dtype=np.uint8)).save(place)
        view = "AP" if number == 10 else ("PA", "LATERAL")[number % 2]
        rows.append({"image": str(place), "patient_id": f"p{min(number // 2, 4)}", "view": view})
    table = pd.DataFrame(rows).assign(split="test", source="drawn", findings="Cardiomegaly", age=60.0, sex="F")
    write_index(table.assign(study_id=table["patient_id"]), tmp_path / "index.csv")
    return tmp_path / "index.csv"


def test_pairs_of_held_out_studies(cxr_sample, tiny_view_dir, studies, tmp_path):
    out = tmp_path / "pairs"
    command = ["study-pairs", "--index", studies, "--model", tiny_view_dir, "--out", out, "--steps", 1]
    command += ["--device", "cpu", "--n", 6, "--guidance", 1]
    code, text, err = cxr_sample(*command)
    assert code == 0, err
    assert "right context" in text and "the right context is nearer in" in text
    rows = list(csv.DictReader((out / "pairs.csv").open()))
    assert len(rows) == 6 and {row["view"] for row in rows} <= {"PA", "LATERAL"}
    for row in rows:
        assert all((out / row[name]).is_file() for name in ("context", "target", "generated", "generated_wrong"))
        right, wrong = (read_record(out / row[name]) for name in ("generated", "generated_wrong"))
        assert right.seed == wrong.seed and right.prompt == wrong.prompt and right.given != wrong.given
        assert read_record(out / row["generated"].replace("generated", "context_0")).given == ""
    assert len(list(csv.DictReader((out / "pairs_0.csv").open()))) == 6
    found = json.loads((out / "distances.json").read_text())
    assert set(found) == {"generated", "generated_wrong", "context_0"}
    with Image.open(out / "strips.png") as sheet:
        assert sheet.width > 4 * 256
    before = {path: path.stat().st_mtime_ns for path in (out / "images").iterdir()}
    assert cxr_sample(*command)[0] == 0
    assert {path: path.stat().st_mtime_ns for path in (out / "images").iterdir()} == before


def test_pairs_need_two_patients(cxr_sample, tiny_view_dir, studies, tmp_path):
    command = ("study-pairs", "--index", studies, "--model", tiny_view_dir, "--out", tmp_path / "pairs")
    code, _, err = cxr_sample(*command, "--split", "val")
    assert code == 2 and "no two patients of split 'val' share several views" in err


@pytest.fixture
def turns(studies):
    """The index with a turned image more of every patient."""
    rows = read_index(studies)
    turned = rows[rows["view"] == "PA"].assign(view="UNKNOWN", angle=[10.0, 20.0, 30.0, 40.0, 50.0])
    turned["image"] = [image.replace(".png", "t.png") for image in turned["image"]]
    for number, image in enumerate(turned["image"]):
        Image.fromarray(np.random.default_rng(number).integers(0, 255, (32, 32), dtype=np.uint8)).save(image)
    write_index(pd.concat([rows, turned]), studies)
    return studies


def test_turned_images_at_their_own_angle_and_another(cxr_sample, tiny_view_dir, turns, tmp_path):
    out = tmp_path / "turned"
    command = ["study-pairs", "--index", turns, "--model", tiny_view_dir, "--out", out, "--steps", 1, "--turned"]
    code, text, err = cxr_sample(*command, "--device", "cpu", "--n", 4)
    assert code == 0, err
    assert "own angle" in text and "no angle" in text and "the own angle is nearer in" in text
    rows = list(csv.DictReader((out / "pairs.csv").open()))
    assert len(rows) == 4 and {row["view"] for row in rows} == {"UNKNOWN"}
    for row in rows:
        right, wrong = (read_record(out / row[name]) for name in ("generated", "generated_wrong"))
        assert right.seed == wrong.seed and right.given != wrong.given and right.given.startswith("angle ")
        assert right.given.split("; ")[1:] == wrong.given.split("; ")[1:]  # the same images
    code, _, err = cxr_sample(*command, "--device", "cpu", "--n", 3)
    assert code == 2 and "holds images of images" in err and "give another --out" in err


def test_whole_studies_from_words(cxr_sample, tiny_view_dir, studies, tmp_path):
    out = tmp_path / "studies"
    command = ["studies", "--index", studies, "--model", tiny_view_dir, "--out", out, "--steps", 1, "--device", "cpu"]
    code, text, err = cxr_sample(*command, "--n", 3, "--views", "pa,lateral,AP")
    assert code == 0 and "3 studies of PA, LATERAL, AP" in text, err
    rows = list(csv.DictReader((out / "studies.csv").open()))
    assert [(row["first_view"], row["second_view"]) for row in rows[:2]] == [("PA", "LATERAL"), ("PA", "AP")]
    assert len({row["patient"] for row in rows}) == 3 and "60-year-old woman" in rows[0]["prompt"]
    for row in rows:
        first, second, alone = (read_record(out / row[name]) for name in ("first", "second", "second_alone"))
        assert first.seed == second.seed == alone.seed and second.prompt == alone.prompt and second.synthetic
        together, apart = (np.asarray(Image.open(out / row[name])) for name in ("second", "second_alone"))
        assert not np.array_equal(together, apart)  # the first view is its context
    gone = min((out / "images").iterdir())
    bits = np.asarray(Image.open(gone))
    gone.unlink()
    assert cxr_sample(*command, "--n", 3, "--views", "pa,lateral,AP")[0] == 0
    assert np.array_equal(np.asarray(Image.open(gone)), bits)
    for options, said in (
        (("--views", "PA"), "--views PA: two views or more"),
        (("--views", "PA,SIDE"), "--views SIDE: one of"),
        (("--split", "val"), "split 'val' has 0 patients"),
        (("--seed", 1), "give another --out"),
    ):
        code, _, err = cxr_sample(*command, "--n", 3, *options)
        assert code == 2 and said in err


def test_inpaint(cxr_sample, tiny_pipeline_dir, pictures, tmp_path):
    mask = np.zeros((32, 32), np.uint8)
    mask[8:16, 8:16] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    options = ["--mask", tmp_path / "mask.png", "--prompt", PROMPT, "--model", tiny_pipeline_dir, "--steps", 2]
    code, text, err = cxr_sample("inpaint", pictures[0], *options, "--out", tmp_path / "new" / "edited.png")
    assert code == 0 and "edited.png" in text, err
    edited, image = (np.asarray(Image.open(place)) for place in (tmp_path / "new" / "edited.png", pictures[0]))
    assert np.array_equal(edited[mask == 0], image[mask == 0]) and not np.array_equal(edited, image)
    assert read_record(tmp_path / "new" / "edited.png").given.startswith("inside a mask")
    code, _, err = cxr_sample("inpaint", pictures[0], *options, "--out", tmp_path / "edited.jpg")
    assert code == 2 and ".png file" in err
