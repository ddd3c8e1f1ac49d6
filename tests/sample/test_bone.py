"""cxr-sample bone: depth, format and size of the input, marks, resuming, refusals, the table for cxr-eval."""

import csv
import json

import numpy as np
import pytest
from PIL import Image

from gen.data.dicom import read_dicom
from gen.data.dicom_writing import dicom_bytes
from gen.data.images import read_image
from gen.data.index import read_index
from gen.data.inspection import mean_chest
from gen.models.bone import BoneFilters, BoneRegressor
from gen.provenance import read_record


def chest(size=(240, 200), levels=255):
    grey = np.clip(np.asarray(Image.fromarray(mean_chest()).resize(size)), 0, 1)
    return np.round(grey * levels).astype(np.uint8 if levels == 255 else np.uint16)


@pytest.fixture
def suppress(cxr_sample, tiny_bone_dir):
    def run(*arguments):
        return cxr_sample("bone", *arguments, "--model", tiny_bone_dir, "--steps", 1, "--device", "cpu")

    return run


def test_every_format_keeps_its_size_and_depth(suppress, tmp_path):
    source, out = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    Image.fromarray(chest()).save(source / "eight.png")
    Image.fromarray(chest(levels=65535)).save(source / "sixteen.png")
    Image.fromarray(chest((200, 240))).save(source / "tall.jpg")
    code, said, _ = suppress(source, "--out", out, "--anyway")
    assert code == 0 and "3 soft-tissue images" in said
    expected = {"eight.png": ("L", (240, 200)), "sixteen.png": ("I;16", (240, 200)), "tall.png": ("L", (200, 240))}
    for name, (mode, size) in expected.items():
        with Image.open(out / name) as image:
            assert (image.mode, image.size) == (mode, size)
        assert read_record(out / name).task == "bone" and "bones removed" in read_record(out / name).notice
        soft, removed = read_image(out / name), read_image(out / "removed" / name) * 2 - 1
        original = read_image(source / name if (source / name).exists() else source / "tall.jpg")
        np.testing.assert_allclose(soft + removed, original, atol=0.004)
    with Image.open(out / "triptychs" / "eight.png") as picture:
        assert picture.size == (3 * 240, 200)


def test_dicom_in_dicom_out(suppress, tmp_path):
    from pydicom import dcmread

    path = tmp_path / "patient.dcm"
    path.write_bytes(dicom_bytes(chest(levels=4095), {}, "PA", "F", 63))
    header = dcmread(path)
    header.PatientName, header.PatientID, header.InstitutionName = "Doe^Jane", "12345", "General"
    header.BitsStored, header.HighBit = 12, 11
    header.WindowCenter, header.WindowWidth = 2048, 4096
    header.save_as(path)
    assert suppress(path, "--out", tmp_path / "out", "--anyway")[0] == 0
    made = dcmread(tmp_path / "out" / "patient.dcm")
    assert (made.Rows, made.Columns, made.BitsStored) == (200, 240, 12) and made.pixel_array.max() <= 4095
    assert made.SyntheticData == "YES" and made.ImageType[0] == "DERIVED"
    source = made.SourceImageSequence[0]
    assert source.ReferencedSOPInstanceUID == header.SOPInstanceUID and source.ReferencedSOPClassUID
    for uid in ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"):
        assert made[uid].value != header[uid].value
    text = str(made)
    assert not any(secret in text for secret in ("Doe", "12345", "General", "063Y"))
    assert made.PatientSex == "" and "Bones removed" in made.DerivationDescription
    assert read_dicom(tmp_path / "out" / "patient.dcm").shape == (200, 240)


def test_it_goes_on_and_refuses_another_run(suppress, tmp_path, tiny_bone_dir, cxr_sample):
    source, out = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    Image.fromarray(chest()).save(source / "a.png")
    suppress(source, "--out", out, "--anyway")
    before = (out / "a.png").stat().st_mtime_ns
    Image.fromarray(chest()).save(source / "b.png")
    assert "2 soft-tissue" in suppress(source, "--out", out, "--anyway")[1]
    assert (out / "a.png").stat().st_mtime_ns == before and (out / "b.png").is_file()
    code, _, err = suppress(source, "--out", out, "--seed", 5)
    assert code == 2 and "holds images of seed 0, not 5" in err
    code, _, err = suppress(source, "--out", out, "--looks", 2)
    assert code == 2 and "holds images of looks 8, not 2" in err


def test_drawn_as_gl_lcm_does(suppress, tmp_path):
    Image.fromarray(chest()).save(tmp_path / "a.png")
    for out, more in (("ours", ()), ("theirs", ("--dual",))):
        assert suppress(tmp_path / "a.png", "--out", tmp_path / out, "--anyway", *more)[0] == 0
    assert json.loads((tmp_path / "theirs" / "bone.json").read_text())["looks"] == 1
    assert "two paths" in read_record(tmp_path / "theirs" / "a.png").scheduler
    ours, theirs = (read_image(tmp_path / out / "a.png") for out in ("ours", "theirs"))
    assert np.abs(ours - theirs).mean() > 0.001


def test_one_unfit_image_is_an_error_and_among_many_a_line(suppress, tmp_path):
    source, out = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    Image.fromarray(255 - chest()).save(source / "inverted.png")
    code, _, err = suppress(source / "inverted.png", "--out", out)
    assert code == 2 and "dark bone" in err and not (out / "inverted.png").exists()
    Image.fromarray(chest((100, 90))).save(source / "tiny.png")
    code, said, err = suppress(source, "--out", out)
    assert code == 0 and "0 soft-tissue images" in said and "100 x 90 pixels" in err and "dark bone" in err


def test_an_index_with_real_softs_gives_the_table_of_the_evaluation(suppress, tmp_path):
    for name in ("x", "s"):
        Image.fromarray(chest()).save(tmp_path / f"{name}.png")
    (tmp_path / "index.csv").write_text("image,soft,patient_id,split\nx.png,s.png,p1,test\n")
    assert suppress(tmp_path / "index.csv", "--out", tmp_path / "out", "--anyway")[0] == 0
    with (tmp_path / "out" / "pairs.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert row["cxr"].endswith("x.png") and row["target"].endswith("s.png") and row["patient"] == "p1"
    assert (tmp_path / "out" / "x.png").samefile(row["output"])
    assert float(row["seconds"]) > 0 and row["calls"] == "8"  # eight looks of one step
    assert json.loads((tmp_path / "out" / "bone.json").read_text())["steps"] == 1


@pytest.mark.parametrize("network", [BoneRegressor(widths=(8, 8), resolution=64), BoneFilters((4, 8), 64)], ids=str)
def test_the_baseline_network_is_a_model_too(network, cxr_sample, tmp_path):
    network.save_pretrained(tmp_path / "unet")
    Image.fromarray(chest()).save(tmp_path / "x.png")
    out = tmp_path / "out"
    code, _, _ = cxr_sample("bone", tmp_path / "x.png", "--out", out, "--model", tmp_path / "unet", "--anyway")
    assert code == 0
    assert np.array_equal(read_image(out / "x.png"), read_image(tmp_path / "x.png"))  # its last layer starts at zero

    code, _, error = cxr_sample(
        "bone", tmp_path / "x.png", "--out", tmp_path / "two", "--model", tmp_path / "unet", "--dual"
    )
    assert code == 2 and "--dual" in error and not (tmp_path / "two").exists()
    code, _, error = cxr_sample("bone", tmp_path / "x.png", "--out", tmp_path / "two", "--lungs", "xrv")
    assert code == 2 and "--lungs: names the mask of --dual" in error and not (tmp_path / "two").exists()


def test_pairs_within_the_lungs(cxr_sample, tmp_path):
    for split in ("train", "val", "test"):
        for column in ("image", "soft"):
            (tmp_path / split / column).mkdir(parents=True)
            Image.fromarray(chest()).save(tmp_path / split / column / "x.png")
    rows = "".join(f"{split}/image/x.png,{split}/soft/x.png,{split},{split}\n" for split in ("train", "val", "test"))
    (tmp_path / "index.csv").write_text("image,soft,patient_id,split\n" + rows)
    out = tmp_path / "out"
    code, told, _ = cxr_sample("lung-pairs", tmp_path / "index.csv", "--out", out)
    assert code == 0 and "3 pairs and 2 of them within the lungs" in told
    table = read_index(out / "index.parquet")
    assert table["split"].tolist() == ["train", "val", "test", "train", "val"]
    whole, inside = (read_image(table["soft"][row]) for row in (0, 3))
    assert np.isin(inside, [0, *np.unique(whole)]).all() and (inside == 0).mean() > (whole == 0).mean()
    assert np.array_equal(inside == whole, (inside > 0) | (whole == 0))

    (tmp_path / "none.csv").write_text("image,soft,patient_id,split\ntrain/image/x.png,,1,train\n")
    code, _, error = cxr_sample("lung-pairs", tmp_path / "none.csv", "--out", tmp_path / "none")
    assert code == 2 and "none.csv" in error and not (tmp_path / "none").exists()
