"""Files, URLs and parts of files give the same bytes; what is absent, cut off or damaged is named."""

import fsspec
import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from gen.data.addresses import Address, is_url, packed_part, part, present, read_bytes
from gen.data.images import read_image
from gen.data.index import read_index, write_index
from gen.errors import UserError

DATA = bytes(range(256)) * 4


@pytest.fixture
def memory():
    system = fsspec.filesystem("memory")
    system.store.clear()
    system.pipe("/box/a.bin", DATA)
    yield system
    system.store.clear()


@pytest.fixture
def places(tmp_path, memory):
    """The same bytes as a file and at two kinds of URL."""
    (tmp_path / "a.bin").write_bytes(DATA)
    return [str(tmp_path / "a.bin"), f"file://{tmp_path}/a.bin", "memory://box/a.bin"]


def test_a_file_and_its_parts_are_the_same_everywhere(places):
    codec = pa.Codec("zstd")
    for place in places:
        assert read_bytes(place) == DATA
        assert read_bytes(part(place, 100, 50, "x/y.png")) == DATA[100:150]
    for place in places[:1]:
        packed = codec.compress(DATA, asbytes=True)
        with open(place, "wb") as file:
            file.write(b"head" + packed)
        address = packed_part(place, (4, len(packed)), "zstd", len(DATA), (300, 20), "y.png")
        assert address.endswith("/y.png") and read_bytes(address) == DATA[300:320]


@pytest.mark.parametrize("name", ["a#1.png", "a#1+2", "a:b+1/c.png", "a#1+2:zstd/c.png", "#1+2/c.png"])
def test_odd_file_names_are_files(name):
    assert Address.of(name) == Address(name)


def test_what_is_a_url():
    assert all(map(is_url, ["s3://b/a.png", "file:///a", "zip://a.png::s3://b/c.zip", "https://x/y.png"]))
    assert not any(map(is_url, ["/a/b.png", "a.png", "a//b.png", "c:\\a.png", ""]))


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("{}/absent.png", "no such image file"),
        ("{}", "no such image file"),
        ("memory://box/absent.png", "no such image file"),
        ("{}/a.bin#1000+100/b.png", "ends before this part"),
        ("{}/a.bin#99999999999+1/b.png", "ends before this part"),
        ("memory://box/a.bin#1000+100/b.png", "ends before this part"),
        ("{}/a.bin#0+1024:zstd:2000:0+10/b.png", "damaged block"),
        ("{}/a.bin#0+1024:nonsense:2000:0+10/b.png", "damaged block"),
        ("{}/a.bin#0+1024:zstd:99999999999:0+10/b.png", "no such part of a block"),
        ("{}/a.bin#0+1024:zstd:100:90+20/b.png", "no such part of a block"),
        ("nonsense://box/a.png", "nonsense://box/a.png: .*nonsense"),
        ("{}/a\0b.png", "cannot be opened"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path, places, address, reason):
    with pytest.raises(UserError, match=reason):
        read_bytes(address.format(tmp_path))


def test_a_storage_that_stutters_is_asked_again(memory, monkeypatch):
    from fsspec.implementations.memory import MemoryFileSystem

    from gen.data import addresses

    monkeypatch.setattr(addresses, "PAUSE", 0)
    answers = iter([TimeoutError("busy"), ConnectionError("reset"), None])
    plain = MemoryFileSystem.cat_file

    def stuttering(self, path, start=None, end=None):
        if error := next(answers):
            raise error
        return plain(self, path, start, end)

    monkeypatch.setattr(MemoryFileSystem, "cat_file", stuttering)
    assert read_bytes("memory://box/a.bin") == DATA
    answers = iter([TimeoutError("busy")] * 3)
    with pytest.raises(UserError, match=r"cannot be read \(busy; tried 3 times\)"):
        read_bytes("memory://box/a.bin")


def test_presence_asks_for_whole_parts(tmp_path, places):
    whole = [part(place, 1000, 24, "a.png") for place in places]
    beyond = [part(place, 1000, 25, "a.png") for place in places]
    absent = [f"{tmp_path}/no.png", "memory://box/no.png", "memory://nowhere/no.png", str(tmp_path), ""]
    assert present([*places, *whole]).all()
    assert not present([*beyond, *absent]).any()


def test_an_index_keeps_urls_and_moves_with_its_shards(table, tmp_path, memory):
    pixels = np.arange(120, dtype=np.uint8).reshape(12, 10)
    Image.fromarray(pixels).save(tmp_path / "plain.png")
    data = (tmp_path / "plain.png").read_bytes()
    (tmp_path / "shards").mkdir()
    (tmp_path / "shards" / "0.tar").write_bytes(b"x" * 512 + data)
    memory.pipe("/box/b.png", data)
    images = [
        str(tmp_path / "plain.png"),
        "memory://box/b.png",
        part(str(tmp_path / "shards/0.tar"), 512, len(data), "k.png"),
    ]
    write_index(table.iloc[:3].assign(image=images), tmp_path / "index.parquet")
    tmp_path.rename(tmp_path.with_name("moved"))
    moved = tmp_path.with_name("moved")
    rows = read_index(moved / "index.parquet")
    assert rows["image"].tolist()[1:] == ["memory://box/b.png", f"{moved}/shards/0.tar#512+{len(data)}/k.png"]
    for image in rows["image"]:
        np.testing.assert_allclose(read_image(image), pixels / 255, atol=1e-6)
