"""Sets as other programs read them."""

import io
import json
import tarfile

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from gen.provenance import read_record
from gen.sample.parts import read_manifest
from gen.sample.store import open_store


@pytest.fixture
def png_set(draw_plan, make_plan, tmp_path):
    """A set of five PNG files, to compare others with."""
    draw_plan(make_plan(5), tmp_path / "png")
    rows = read_manifest(open_store(tmp_path / "png")).to_pandas()
    return rows.assign(image=[np.asarray(Image.open(tmp_path / "png" / file)) for file in rows["file"]])


def test_webdataset(cxr_sample, draw_plan, make_plan, png_set, tmp_path):
    datasets = pytest.importorskip("datasets")
    draw_plan(make_plan(5), tmp_path / "set", "--format", "webdataset", "--per-file", 2)
    assert cxr_sample("verify", tmp_path / "set")[0] == 0
    tars = sorted((tmp_path / "set/data").glob("*.tar"))
    assert len(tars) == 3
    with tarfile.open(tars[0]) as tar:
        assert tar.getnames() == [f"000{number}.{kind}" for number in (0, 1) for kind in ("png", "json", "txt")]
        assert json.load(tar.extractfile("0001.json"))["synthetic"] is True
        assert tar.extractfile("0001.txt").read().decode() == png_set["prompt"][1]
    data = datasets.load_dataset(
        "webdataset", data_files=[str(path) for path in tars], split="train", cache_dir=str(tmp_path / "cache")
    )
    assert [row["__key__"] for row in data] == list(png_set["id"])
    assert all((np.asarray(row["png"]) == image).all() for row, image in zip(data, png_set["image"], strict=True))
    assert [row["json"]["seed"] for row in data] == list(png_set["seed"])


def test_hugging_face(cxr_sample, draw_plan, make_plan, png_set, tmp_path):
    datasets = pytest.importorskip("datasets")
    draw_plan(make_plan(5), tmp_path / "set", "--format", "parquet", "--per-file", 3)
    assert cxr_sample("verify", tmp_path / "set")[0] == 0
    # the folder alone is enough: its card says which files are the data
    data = datasets.load_dataset(str(tmp_path / "set"), split="train", cache_dir=str(tmp_path / "cache"))
    assert sorted(data["id"]) == list(png_set["id"]) and data.features["age"].dtype == "float32"
    for row in data:
        (expected,) = png_set[png_set["id"] == row["id"]].to_dict("records")
        assert (np.asarray(row["image"]) == expected["image"]).all()
        assert (row["prompt"], row["seed"], row["findings"]) == (expected["prompt"], expected["seed"], "Cardiomegaly")
    card = (tmp_path / "set/README.md").read_text()
    assert "None of these images shows a patient" in card and "5 radiographs were drawn by cxr-gen" in card


def test_a_plain_torch_dataset_in_three_lines(draw_plan, make_plan, tmp_path):
    from torch.utils.data import DataLoader
    from torchvision.transforms.functional import pil_to_tensor

    out = tmp_path / "set"
    draw_plan(make_plan(5), out)

    rows = pd.read_csv(out / "prompts.csv")
    pairs = [(pil_to_tensor(Image.open(out / file)), text) for text, file in rows.itertuples(index=False)]
    images, prompts = next(iter(DataLoader(pairs, batch_size=5)))

    assert images.shape == (5, 1, 32, 32) and "cardiomegaly" in prompts[0]


def test_sixteen_bits(cxr_sample, draw_plan, make_plan, png_set, tmp_path):
    draw_plan(make_plan(5), tmp_path / "set", "--format", "png16")
    rows = read_manifest(open_store(tmp_path / "set")).to_pandas()
    for file, image in zip(rows["file"], png_set["image"], strict=True):
        with Image.open(tmp_path / "set" / file) as deep:
            assert deep.mode.startswith("I;16")
            pixels = np.asarray(deep)
        assert pixels.dtype == np.uint16 and np.abs(pixels / 257 - image).max() <= 0.51
        assert len(np.unique(pixels)) > len(np.unique(image))
        assert read_record(tmp_path / "set" / file).synthetic
    assert cxr_sample("verify", tmp_path / "set")[0] == 0


def test_dicom(cxr_sample, draw_plan, make_plan, png_set, tmp_path):
    pydicom = pytest.importorskip("pydicom")
    draw_plan(make_plan(5), tmp_path / "set", "--format", "dicom")
    assert cxr_sample("verify", tmp_path / "set")[0] == 0
    rows = read_manifest(open_store(tmp_path / "set")).to_pandas()
    files = [pydicom.dcmread(tmp_path / "set" / file) for file in rows["file"]]
    assert all((file.pixel_array == image).all() for file, image in zip(files, png_set["image"], strict=True))
    assert {(file.SyntheticData, file.Modality, file.ViewPosition) for file in files} == {("YES", "CR", "PA")}
    assert len({file.SOPInstanceUID for file in files}) == 5


@pytest.mark.parametrize("kind", ["png", "webdataset"])
@pytest.mark.parametrize("scheme", ["memory", "file"])
def test_addresses(cxr_sample, draw_plan, make_plan, png_set, tmp_path, scheme, kind):
    pytest.importorskip("fsspec")
    out = f"file://{tmp_path}/set" if scheme == "file" else f"memory://{tmp_path.name}/set"
    for shard in ("1/2", "2/2"):
        assert draw_plan(make_plan(5), out, "--format", kind, "--shard", shard)[0] == 0
    assert cxr_sample("verify", out)[0] == 0
    store = open_store(out)
    assert set(read_manifest(store)["sha256"].to_pylist()) == set(png_set["sha256"])
    lost = sorted(store.sizes("images" if kind == "png" else "data"))[0]
    store.delete(lost)
    assert cxr_sample("verify", out)[0] == 1
    assert draw_plan(make_plan(5), out, "--format", kind)[0] == 0
    assert cxr_sample("verify", out)[0] == 0


def test_unknown_addresses(draw_plan, make_plan, tmp_path):
    code, _, err = draw_plan(make_plan(2), "nowhere://bucket/set")
    assert code == 2 and "not an address that fsspec can open here" in err and err.count("\n") == 1


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda name, data: None if name == "0001.json" else data, "0001: has no .json beside it"),
        (lambda name, data: b"[" if name == "0001.json" else data, "0001: has a damaged .json beside it"),
        (lambda name, data: data.replace(b'"seed": ', b'"seed": 1') if name == "0001.json" else data, "not its own"),
        (lambda name, data: b"Lateral view." if name == "0001.txt" else data, "0001: has a .txt beside it that is not"),
    ],
)
def test_what_lies_beside_an_image_in_a_tar_is_its_own(cxr_sample, draw_plan, make_plan, tmp_path, change, said):
    draw_plan(make_plan(2), tmp_path / "set", "--format", "webdataset")
    (path,) = (tmp_path / "set/data").glob("*.tar")
    whole = path.read_bytes()
    with tarfile.open(path) as tar:
        members = {info.name: tar.extractfile(info).read() for info in tar}
    with tarfile.open(path, "w") as tar:
        for name, data in members.items():
            if (changed := change(name, data)) is not None:
                info = tarfile.TarInfo(name)
                info.size = len(changed)
                tar.addfile(info, io.BytesIO(changed))
    code, out, _ = cxr_sample("verify", tmp_path / "set")
    assert code == 1 and said in out
    path.write_bytes(whole)
    assert cxr_sample("verify", tmp_path / "set")[0] == 0


def test_a_tar_of_a_killed_worker_is_no_result(cxr_sample, draw_plan, make_plan, tmp_path):
    draw_plan(make_plan(4), tmp_path / "set", "--format", "webdataset", "--per-file", 2)
    tar = sorted((tmp_path / "set/data").glob("*.tar"))[0]
    (tar.parent / "00001-1of1-00009.tar").write_bytes(tar.read_bytes())  # written, but its rows never were
    code, said, _ = cxr_sample("verify", tmp_path / "set")
    assert code == 1 and "00001-1of1-00009.tar: is not in the manifest" in said
    draw_plan(make_plan(4), tmp_path / "set", "--format", "webdataset", "--per-file", 2)
    assert cxr_sample("verify", tmp_path / "set")[0] == 0
    tar.write_bytes(tar.read_bytes()[:-8000])
    code, said, _ = cxr_sample("verify", tmp_path / "set")
    assert code == 1 and "lacks 000" in said
    draw_plan(make_plan(4), tmp_path / "set", "--format", "webdataset", "--per-file", 2)
    assert cxr_sample("verify", tmp_path / "set")[0] == 0
