"""WebDataset tars and Hugging Face data sets as index rows; hostile ones end in a clear line or are put aside."""

import csv
import io
import json
import tarfile

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from gen.data.building import build_index
from gen.data.images import read_image
from gen.data.index import read_index
from gen.data.sources import huggingface
from gen.data.sources.shards import listed, split_of
from gen.errors import UserError


def pixels(number: int) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 256, (20, 16 + number), dtype=np.uint8)


def png(number: int, kind: str = "PNG") -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels(number)).save(file, kind)
    return file.getvalue()


def add(tar: tarfile.TarFile, name: str, data: bytes = b"", **fields) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(data)
    for field, value in fields.items():
        setattr(member, field, value)
    tar.addfile(member, io.BytesIO(data))


def sample(tar: tarfile.TarFile, number: int, **columns) -> None:
    about = {"PatientID": f"p{number // 2}", "view": "AP", "labels": ["Edema", "Cardiomegaly"], "age": 50} | columns
    add(tar, f"{number:06d}.json", json.dumps(about).encode())
    add(tar, f"{number:06d}.png", png(number))
    add(tar, f"{number:06d}.txt", f"Report {number}.".encode())


@pytest.fixture
def shards(tmp_path):
    """Three tars of four samples each, patients of two."""
    (tmp_path / "wds").mkdir()
    for shard in range(3):
        with tarfile.open(tmp_path / "wds" / f"shard-{shard:03d}.tar", "w") as tar:
            for number in range(4 * shard, 4 * shard + 4):
                sample(tar, number)
    return tmp_path / "wds"


def built(source, place, tmp_path, **options):
    places = place if isinstance(place, list) else [place]
    build_index(source, places, tmp_path / "i.parquet", **options)
    return read_index(tmp_path / "i.parquet")


def shown(rows):
    """Every image that the rows point to, by its number (its width)."""
    found = [np.round(read_image(image) * 255).astype(np.uint8) for image in rows["image"]]
    for image in found:
        np.testing.assert_array_equal(image, pixels(image.shape[1] - 16))
    return [image.shape[1] - 16 for image in found]


def rejected(tmp_path):
    with open(tmp_path / "i.rejected.csv", newline="") as file:
        return {row["image"].rpartition("#")[2]: row["reason"] for row in csv.DictReader(file)}


def test_webdataset_samples_become_rows(shards, tmp_path):
    rows = built("webdataset", shards, tmp_path)
    assert shown(rows) == list(range(12))
    assert rows["patient_id"].tolist() == [f"p{number // 2}" for number in range(12)]
    assert set(rows["view"]) == {"AP"} and set(rows["findings"]) == {"Edema;Cardiomegaly"} and set(rows["age"]) == {50}
    assert rows["report"][3] == "Report 3." and rows["study_id"][3] == "000003"
    assert set(rows["split"]) <= {"train", "val", "test"} and not (tmp_path / "i.rejected.csv").exists()


def test_every_way_to_name_shards(shards, tmp_path):
    memory = fsspec.filesystem("memory")
    memory.store.clear()
    for path in shards.iterdir():
        memory.pipe(f"/wds/{path.name}", path.read_bytes())
    ways = [f"{shards}/*.tar", f"{shards}/shard-{{000..002}}.tar", f"file://{shards}", "memory://wds/*.tar"]
    for way in [*ways, [f"memory://wds/shard-{shard:03d}.tar" for shard in range(3)]]:
        assert shown(built("webdataset", way, tmp_path)) == list(range(12))
    with pytest.raises(UserError, match="no .tar or .* file there"):
        built("webdataset", tmp_path / "none", tmp_path)
    assert listed(f"{shards}/shard-{{001..009}}.tar".replace("009", "001"), [".tar"]) == [f"{shards}/shard-001.tar"]


def test_a_map_chooses_columns_and_the_image(shards, tmp_path):
    with tarfile.open(shards / "x.tar", "w") as tar:
        add(tar, "a.mask.png", png(1))
        add(tar, "a.png", png(2))
        add(tar, "a.cls", b"Edema")
    from gen.data.sources.folder import TableOf

    assert shown(built("webdataset", shards / "x.tar", tmp_path)) == [2]
    mapped = TableOf(columns={"image": "mask.png", "findings": "cls"})
    rows = built("webdataset", shards / "x.tar", tmp_path, table_of=mapped)
    assert shown(rows) == [1] and rows["findings"].tolist() == ["Edema"]
    with pytest.raises(UserError, match="has no column 'nothing'; it has cls"):
        built("webdataset", shards / "x.tar", tmp_path, table_of=TableOf(columns={"view": "nothing"}))


def test_keys_that_start_anew_in_every_shard_stay_apart(tmp_path):
    for split in ("train", "test"):
        with tarfile.open(tmp_path / f"{split}-0.tar", "w") as tar:
            for number in range(12):
                add(tar, f"{number}.png", png(number))
    rows = built("webdataset", [tmp_path / "train-0.tar", tmp_path / "test-0.tar"], tmp_path)
    assert rows["study_id"].is_unique and rows["study_id"][0] == "train-0/0"
    assert set(rows["split"][12:]) == {"test"} and set(rows["split"][:12]) == {"train", "val"}


def test_hostile_members_are_put_aside(tmp_path):
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        for number in range(6):
            sample(tar, number)
        add(tar, "../../evil.png", png(1))
        add(tar, "/etc/evil.png", png(1))
        add(tar, "link.png", type=tarfile.SYMTYPE, linkname="/etc/passwd")
        add(tar, "hard.png", type=tarfile.LNKTYPE, linkname="000000.png")
        add(tar, "device.png", type=tarfile.CHRTYPE)
        add(tar, "words.png", b"#!/bin/sh")
        add(tar, "list.json", b"[1, 2]")
        add(tar, "deep.json", b"[" * 100_000)
        add(tar, "alone.txt", b"a report of nothing")
        add(tar, "long.txt", b"x" * (2**20 + 1))
        add(tar, "more/", type=tarfile.DIRTYPE)
    with pytest.raises(UserError, match=r"--max-bad-share allows 0.01; .*i.rejected.csv lists them"):
        built("webdataset", tmp_path / "x.tar", tmp_path)
    assert not (tmp_path / "i.parquet").exists()
    rows = built("webdataset", tmp_path / "x.tar", tmp_path, max_bad_share=0.9)
    assert shown(rows) == list(range(6))
    reasons = rejected(tmp_path)
    assert {reasons[name] for name in ("../../evil.png", "/etc/evil.png")} == {"its name leads out of the archive"}
    assert "link" in reasons["link.png"] and "link" in reasons["hard.png"]
    assert reasons["device.png"] == "neither a plain file nor a folder"
    assert reasons["words.png"] == "no image" and reasons["alone"] == "no image"
    assert "no JSON" in reasons["list.json"] and "no JSON" in reasons["deep.json"]
    assert "1048577 bytes" in reasons["long.txt"]


def giant_header(kind: bytes) -> bytes:
    member = tarfile.TarInfo("x")
    member.type, member.size = kind, 2**33
    return member.tobuf(tarfile.GNU_FORMAT) + b"\0" * 4096


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda data: data[: len(data) // 2], "cut off in '.*' at byte|damaged header"),
        (lambda data: data[:1024], "cut off at byte 1024, before its end mark"),
        (lambda data: data[: len(data) - 20 * 512], "cut off|damaged"),
        (lambda data: data.rstrip(b"\0")[: -(len(data.rstrip(b"\0")) % 512)], "cut off"),
        (lambda data: data[:1024] + b"\xff" * 512 + data[1536:], "damaged header at byte 1024"),
        (lambda data: b"no tar at all" * 100, "not a readable tar"),
        (lambda data: b"", "not a readable tar"),
        (lambda data: data[:1024] + giant_header(tarfile.XHDTYPE), "a header of 8589934592 bytes"),
        (lambda data: data[:1024] + giant_header(tarfile.GNUTYPE_LONGNAME), "a header of 8589934592 bytes"),
        (lambda data: data[:1024] + giant_header(tarfile.REGTYPE), "cut off in 'x'"),
    ],
)
def test_damaged_archives_are_refused(shards, tmp_path, spoil, reason):
    path = shards / "shard-001.tar"
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(UserError, match=reason) as caught:
        built("webdataset", shards, tmp_path)
    assert "shard-001.tar" in str(caught.value) and not (tmp_path / "i.parquet").exists()


def test_compressed_archives_are_refused(tmp_path):
    with tarfile.open(tmp_path / "x.tar.gz", "w:gz") as tar:
        sample(tar, 0)
    with pytest.raises(UserError, match="unpack it to a plain .tar"):
        built("webdataset", tmp_path / "x.tar.gz", tmp_path)


def columns(count=12, missing=()):
    images = [{"bytes": None if n in missing else png(n), "path": f"{n}.png"} for n in range(count)]
    images = [image if image["bytes"] else {"bytes": None, "path": None} for image in images]
    return {"image": images, "Sex": ["M", "F"] * (count // 2), "Edema": [1.0, None] * (count // 2)}


@pytest.mark.parametrize("version", ["1.0", "2.0"])
@pytest.mark.parametrize(("codec", "dictionary"), [("snappy", True), ("none", False), ("zstd", False), ("lz4", True)])
def test_parquet_rows_point_into_their_pages(tmp_path, version, codec, dictionary):
    options = {"compression": codec, "use_dictionary": dictionary, "data_page_version": version}
    pq.write_table(
        pa.table(columns(missing=[5])), tmp_path / "a.parquet", row_group_size=5, data_page_size=900, **options
    )
    rows = built("huggingface", tmp_path / "a.parquet", tmp_path, max_bad_share=0.2)
    assert shown(rows) == [number for number in range(12) if number != 5]
    assert rows["sex"].tolist()[:5] == ["M", "F", "M", "F", "M"] and rows["findings"].tolist()[:2] == ["Edema", ""]
    assert rejected(tmp_path) == {"row=5": "no image"}
    assert ("a.parquet#" in rows["image"][0]) and rows["image"][0].endswith("/0.png")


def test_plain_bytes_required_columns_and_equal_images(tmp_path):
    schema = pa.schema([pa.field("jpg", pa.binary(), nullable=False), pa.field("report", pa.string())])
    data = [png(number % 2) for number in range(8)]
    table = pa.table({"jpg": data, "report": ["x"] * 8}, schema)
    pq.write_table(table, tmp_path / "a.parquet", use_dictionary=True)
    rows = built("huggingface", tmp_path / "a.parquet", tmp_path)
    # equal values share one place of the dictionary, and an index has one row an image
    assert [image.rpartition("/")[2] for image in rows["image"]] == [f"a-{number:06d}.png" for number in range(8)]
    assert shown(rows) == [0, 1] * 4


def test_a_saved_data_set_keeps_splits_classes_and_images(tmp_path):
    datasets = pytest.importorskip("datasets")
    features = datasets.Features(
        image=datasets.Image(), finding=datasets.ClassLabel(names=["No Finding", "Edema"]), age=datasets.Value("int32")
    )

    def part(numbers):
        images = [{"bytes": png(number), "path": None} for number in numbers]
        table = {"image": images, "finding": [n % 2 for n in numbers], "age": [50 + n for n in numbers]}
        return datasets.Dataset.from_dict(table, features=features)

    whole = datasets.DatasetDict(train=part(range(9)), validation=part(range(9, 12)), test=part(range(12, 14)))
    whole.save_to_disk(tmp_path / "saved", num_shards={"train": 2, "validation": 1, "test": 1})
    rows = built("huggingface", tmp_path / "saved", tmp_path)
    by_split = {split: sorted(shown(group)) for split, group in rows.groupby("split")}
    assert by_split == {"train": list(range(9)), "val": [9, 10, 11], "test": [12, 13]}
    assert all(rows["age"] == [50 + number for number in shown(rows)])
    assert rows["findings"].tolist() == [["No Finding", "Edema"][number % 2] for number in shown(rows)]
    for split in whole:
        whole[split].to_parquet(tmp_path / "hub" / f"{split}-00000-of-00001.parquet")
    again = built("huggingface", tmp_path / "hub", tmp_path)
    assert {split: sorted(shown(group)) for split, group in again.groupby("split")} == by_split
    assert again["findings"].tolist() == [["No Finding", "Edema"][number % 2] for number in shown(again)]


def test_a_hub_name_is_loaded_by_datasets(tmp_path, monkeypatch):
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="no such file or folder, and no such data set"):
        huggingface._from_hub(str(tmp_path / "absent"))
    (tmp_path / "org" / "set").mkdir(parents=True)
    pq.write_table(pa.table(columns()), tmp_path / "org" / "set" / "train.parquet")
    shards = huggingface._from_hub("org/set")  # a folder here answers as the hub would
    assert len(shards) == 1 and shards[0].endswith(".arrow")
    assert shown(built("huggingface", shards[0], tmp_path)) == list(range(12))


def test_rows_may_name_files_but_not_others_files(tmp_path):
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "1.png").write_bytes(png(1))
    (tmp_path / "out.png").write_bytes(png(2))
    paths = ["1.png", "../out.png", str(tmp_path / "out.png"), "memory://box/3.png"]
    fsspec.filesystem("memory").pipe("/box/3.png", png(3))
    pq.write_table(pa.table({"image": [{"bytes": None, "path": path} for path in paths]}), tmp_path / "set/a.parquet")
    rows = built("huggingface", tmp_path / "set", tmp_path, max_bad_share=0.5)
    assert shown(rows) == [1, 3]
    assert set(rejected(tmp_path).values()) == {"its path leads out of the data set"}


def test_bytes_that_are_no_image_and_columns_that_are_none(tmp_path):
    images = [{"bytes": b"#!/bin/sh" * 9, "path": "x.png"}, {"bytes": png(1), "path": None}]
    pq.write_table(pa.table({"image": images}), tmp_path / "a.parquet")
    assert shown(built("huggingface", tmp_path / "a.parquet", tmp_path, max_bad_share=0.5)) == [1]
    assert rejected(tmp_path) == {"row=0": "bytes that are no image"}
    pq.write_table(pa.table({"words": ["a"], "image2": [1]}), tmp_path / "a.parquet")
    with pytest.raises(UserError, match="no image column .*found: words, image2.*--map image=COLUMN"):
        built("huggingface", tmp_path / "a.parquet", tmp_path)


@pytest.mark.parametrize("seed", range(12))
def test_damaged_parquet_never_ends_in_anything_else_than_a_line(tmp_path, seed):
    path, rng = tmp_path / "a.parquet", np.random.default_rng(seed)
    pq.write_table(pa.table(columns()), path, compression=["snappy", "none"][seed % 2], data_page_size=900)
    data = bytearray(path.read_bytes())
    if seed < 4:
        data = data[: len(data) * seed // 4]
    else:
        for place in rng.integers(0, len(data), 30):
            data[place] ^= int(rng.integers(1, 256))
    path.write_bytes(data)
    try:
        rows = built("huggingface", path, tmp_path, max_bad_share=0.99)
    except UserError as error:
        assert "a.parquet" in str(error)
        return
    for image in rows["image"]:
        try:
            read_image(image)
        except UserError as error:
            assert "a.parquet" in str(error)


def test_unaddressable_encodings_are_refused(tmp_path):
    options = {"use_dictionary": False, "column_encoding": {"image": "DELTA_BYTE_ARRAY"}}
    pq.write_table(pa.table({"image": [png(1)]}), tmp_path / "a.parquet", **options)
    with pytest.raises(UserError, match="values in encoding 7; only plain and dictionary"):
        built("huggingface", tmp_path / "a.parquet", tmp_path)


def test_compressed_arrow_is_refused(tmp_path):
    table = pa.table({"image": [png(1) * 20]})
    with pa.ipc.new_stream(
        tmp_path / "a.arrow", table.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")
    ) as out:
        out.write_table(table)
    with pytest.raises(UserError, match="buffers are compressed; save it again"):
        built("huggingface", tmp_path / "a.arrow", tmp_path)


def test_splits_by_name():
    names = {"a/train-0001.tar": "train", "validation/data-0.arrow": "val", "x/test.parquet": "test", "x/a.tar": ""}
    assert {name: split_of(name) for name in names} == names
    assert split_of("training_data-1.tar") == "train" and split_of("trainer.tar") == ""
