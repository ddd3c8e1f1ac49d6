"""cxr-sample from the outside: what it writes, and how it refuses."""

import hashlib
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from gen.models.speed import fastest_dtype
from gen.provenance import read_record

PROMPT = "PA chest radiograph of a 60-year-old woman with cardiomegaly."
COLUMNS = {"img_savename", "prompt", "view", "sex", "age", "findings", "seed", "model", "model_hash"}
COLUMNS |= {"steps", "guidance", "scheduler", "dtype", "sha256", "synthetic"}


def files(folder) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_help_is_quick(tmp_path):
    seconds = []
    for _ in range(3):
        before = os.times()
        done = subprocess.run([sys.executable, "-m", "gen.sample.cli", "--help"], cwd=tmp_path, capture_output=True)
        after = os.times()
        # processor time: the clock on the wall also counts what else the machine does
        seconds.append(sum(after[2:4]) - sum(before[2:4]))
        assert done.returncode == 0 and b"demo" in done.stdout
    assert min(seconds) <= 1


def test_one_prompt(draw, manifest, tmp_path):
    code, out, _ = draw("--prompt", PROMPT, "--n", 3, "--seed", 7, "--batch-size", 2, "--out", tmp_path / "set")
    assert code == 0 and "3 synthetic radiographs" in out
    rows = manifest(tmp_path / "set")
    assert [row["img_savename"] for row in rows] == ["000000_seed7.png", "000001_seed8.png", "000002_seed9.png"]
    assert set(rows[0]) == COLUMNS
    said = {"prompt": PROMPT, "view": "PA", "sex": "F", "age": "60", "findings": "Cardiomegaly", "synthetic": "true"}
    assert said.items() <= rows[0].items()
    fastest = str(fastest_dtype("cpu")).removeprefix("torch.")
    assert {row["steps"] for row in rows} == {"2"} and {row["dtype"] for row in rows} == {fastest}
    assert set(files(tmp_path / "set")) == {"manifest.csv", *(row["img_savename"] for row in rows)}


def test_files_are_marked_synthetic(draw, manifest, tmp_path):
    draw("--prompt", PROMPT, "--seed", 3, "--out", tmp_path)
    (row,) = manifest(tmp_path)
    path = tmp_path / row["img_savename"]
    record = read_record(path)
    assert record.synthetic and "not for diagnosis" in record.notice
    assert (record.seed, record.steps, record.model_hash) == (3, 2, row["model_hash"])
    assert row["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    with Image.open(path) as image:
        assert (image.mode, image.size) == ("L", (32, 32)) and "SYNTHETIC" in image.text["Comment"]


def test_options_are_put_into_the_prompt(draw, manifest, tmp_path):
    draw("--prompt", "Pleural effusion.", "--view", "ap", "--sex", "M", "--age", 72, "--out", tmp_path)
    (row,) = manifest(tmp_path)
    assert [row[name] for name in ("view", "sex", "age", "findings")] == ["AP", "M", "72", "Pleural Effusion"]
    assert row["prompt"].endswith("Pleural effusion.") and "72-year-old" in row["prompt"]


def test_table(draw, manifest, tmp_path):
    table = tmp_path / "prompts.csv"
    table.write_text(
        "\ufeffprompt,view,sex,age,n,seed,findings,ward\n"
        '"Cardiomegaly, moderate.",PA,F,60.0,2,11,,A\n'
        "\n"
        "Clear lungs.,,,,,,normal,B\n",
        encoding="utf-8",
    )
    code, _, _ = draw("--table", table, "--seed", 40, "--view", "AP", "--out", tmp_path / "set")
    assert code == 0
    rows = manifest(tmp_path / "set")
    assert [(row["view"], row["seed"], row["ward"]) for row in rows] == [
        ("PA", "11", "A"),
        ("PA", "12", "A"),
        ("AP", "42", "B"),
    ]
    assert [row["findings"] for row in rows] == ["Cardiomegaly", "Cardiomegaly", "No Finding"]


def test_batches_do_not_matter(draw, tmp_path):
    for size in (1, 3):
        draw("--prompt", PROMPT, "--n", 3, "--batch-size", size, "--out", tmp_path / str(size))
    images = [[np.asarray(Image.open(path)) for path in sorted(tmp_path.glob(f"{size}/*.png"))] for size in (1, 3)]
    # kernels may round differently at another batch size; a grey level is the most that this can change
    assert np.abs(np.int16(images[0]) - np.int16(images[1])).max() <= 1
    assert np.abs(np.int16(images[0][0]) - np.int16(images[0][1])).max() > 1


def test_dicom(draw, manifest, tmp_path):
    pydicom = pytest.importorskip("pydicom")
    code, _, _ = draw("--prompt", PROMPT, "--format", "dicom", "--out", tmp_path)
    assert code == 0
    (row,) = manifest(tmp_path)
    dataset = pydicom.dcmread(tmp_path / row["img_savename"])
    assert dataset.SyntheticData == "YES" and PROMPT in dataset.ImageComments
    assert (dataset.PatientSex, dataset.PatientAge, dataset.ViewPosition) == ("F", "060Y", "PA")


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ("", "is empty"),
        ("prompt,view\n", "no rows"),
        ("text,view\nx,PA\n", "'prompt' is missing (found: text, view)"),
        ("prompt,prompt\nx,y\n", "'prompt' is there twice"),
        ("prompt,model\nx,y\n", "'model' is one that the manifest fills in"),
        ("prompt,view\nx,PA\ny,LL\n", "row 2: view=LL: one of PA"),
        ("prompt,sex\nx,Q\n", "row 1: sex=Q: M or F"),
        ("prompt,age\nx,old\n", "row 1: column age: 'old' is not a number"),
        ("prompt,age\nx,300\n", "row 1: age=300"),
        ("prompt,n\nx,1.5\n", "row 1: column n: '1.5' is not a whole number"),
        ("prompt,n\nx,0\n", "row 1: n=0"),
        ("prompt,seed\nx,-1\n", "row 1: seed=-1"),
        ("prompt,view\n,PA\n", "row 1: prompt is empty"),
        ("prompt,view\nHeart, large.,PA\n", "in quotes"),
        ("prompt,view\nAP chest radiograph.,PA\n", "row 1: view=PA: the prompt"),
    ],
)
def test_bad_tables(draw, tmp_path, table, words):
    (tmp_path / "prompts.csv").write_text(table)
    code, out, err = draw("--table", tmp_path / "prompts.csv", "--out", tmp_path / "set")
    assert (code, out) == (2, "")
    assert err.count("\n") == 1 and "prompts.csv" in err and words in err
    assert not (tmp_path / "set").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "either --prompt TEXT or --table"),
        (("--prompt", "x", "--table", "y.csv"), "either --prompt TEXT or --table"),
        (("--table", "nowhere.csv"), "nowhere.csv: no such table"),
        (("--prompt", "  "), "prompt is empty"),
        (("--prompt", "x", "--view", "LL"), "view=LL: one of"),
        (("--prompt", "x", "--age", "-3"), "age=-3"),
        (("--prompt", "x", "--n", "0"), "n=0"),
        (("--prompt", "x", "--seed", "-1"), "seed=-1"),
        (("--prompt", "x", "--steps", "0"), "--steps 0"),
        (("--prompt", "x", "--guidance", "nan"), "--guidance nan"),
        (("--prompt", "x", "--batch-size", "0"), "--batch-size 0"),
    ],
)
def test_bad_options(draw, tmp_path, arguments, words):
    code, out, err = draw(*arguments, "--out", tmp_path / "set")
    assert (code, out) == (2, "")
    assert err.count("\n") == 1 and words in err
    assert not (tmp_path / "set").exists()


def test_table_in_another_encoding(draw, tmp_path):
    (tmp_path / "prompts.csv").write_bytes("prompt\nÉpanchement pleural\n".encode("latin-1"))
    code, _, err = draw("--table", tmp_path / "prompts.csv", "--out", tmp_path / "set")
    assert code == 2 and "UTF-8" in err and err.count("\n") == 1


def test_model_that_is_none(cxr_sample, tmp_path):
    (tmp_path / "empty").mkdir()
    code, _, err = cxr_sample("image", "--prompt", "x", "--model", tmp_path / "empty", "--out", tmp_path / "set")
    assert code == 2 and "model_index.json is missing" in err and err.count("\n") == 1
    assert not (tmp_path / "set").exists()


def test_truncated_weights(cxr_sample, tiny_pipeline_dir, tmp_path):
    shutil.copytree(tiny_pipeline_dir, tmp_path / "model")
    (weights,) = (tmp_path / "model/unet").glob("*.safetensors")
    weights.write_bytes(weights.read_bytes()[:5000])
    code, _, err = cxr_sample("image", "--prompt", "x", "--model", tmp_path / "model", "--out", tmp_path / "set")
    assert code == 2 and "not a usable UNet2DConditionModel" in err and "unet" in err
    assert not (tmp_path / "set").exists()


def test_out_is_a_file(draw, tmp_path):
    (tmp_path / "set").write_text("")
    code, _, err = draw("--prompt", "x", "--out", tmp_path / "set")
    assert code == 2 and "cannot be a folder" in err and err.count("\n") == 1


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_full_disk(draw, manifest, tmp_path):
    def full(name: str):
        path = tmp_path / f".{name}.{os.getpid()}.tmp"  # where the file is written before it gets its name
        path.symlink_to("/dev/full")

    full("000001_seed1.png")
    code, _, err = draw("--prompt", "x", "--n", 2, "--batch-size", 1, "--out", tmp_path)
    assert code == 2 and "disk full" in err.splitlines()[-1] and "000001_seed1.png" in err
    assert [row["img_savename"] for row in manifest(tmp_path)] == ["000000_seed0.png"]
    assert set(files(tmp_path)) == {"000000_seed0.png", "manifest.csv"}
    assert draw("--prompt", "x", "--n", 2, "--batch-size", 1, "--out", tmp_path)[0] == 0
    assert len(manifest(tmp_path)) == 2
