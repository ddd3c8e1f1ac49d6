"""Formats that hold many images a file: WebDataset tars and the Parquet files of a Hugging Face data set."""

from __future__ import annotations

import io
import json
import tarfile
import time
from collections.abc import Callable, Iterator, Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from gen.errors import UserError
from gen.provenance import read_record

from .row import Row
from .store import Store
from .writers import IMAGES, LOOSE, PACKED, Format, Picture, Writer, described, loose_writer, png

LARGEST = 128 * 2**20  # bytes that wait in memory
LONGEST = 300.0  # seconds that an image waits: what a killed worker loses at most
SAID = ("prompt", "view", "sex", "age", "findings", "seed", "model", "model_hash")
# what `datasets` reads its features from; without it the images would stay bytes
FEATURES = {name: {"dtype": "string", "_type": "Value"} for name in ("id", *SAID)}
FEATURES |= {"age": {"dtype": "float32", "_type": "Value"}, "seed": {"dtype": "int64", "_type": "Value"}}
FEATURES = {"image": {"_type": "Image"}, **FEATURES}
HF_SCHEMA = pa.schema(
    [
        pa.field("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
        *(pa.field(name, pa.string()) for name in ("id", "prompt", "view", "sex")),
        pa.field("age", pa.float32()),
        pa.field("findings", pa.string()),
        pa.field("seed", pa.int64()),
        *(pa.field(name, pa.string()) for name in ("model", "model_hash")),
    ],
    metadata={"huggingface": json.dumps({"info": {"features": FEATURES}})},
)
Sample = tuple[Row, bytes]


def tar_bytes(samples: Sequence[Sample]) -> bytes:
    """A WebDataset tar: ID.png, ID.json and ID.txt (the prompt) of every image, side by side."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for row, data in samples:
            said = {name: row[name] for name in SAID} | {"synthetic": True}
            parts = {"png": data, "json": json.dumps(said).encode(), "txt": str(row["prompt"]).encode()}
            for suffix, content in parts.items():
                info = tarfile.TarInfo(f"{row['id']}.{suffix}")  # no time and no owner: equal images, equal bytes
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    return file.getvalue()


def parquet_bytes(samples: Sequence[Sample]) -> bytes:
    """A Parquet file that `datasets` opens with decoded images."""
    rows = [
        {"image": {"bytes": data, "path": f"{row['id']}.png"}, "id": row["id"], **{name: row[name] for name in SAID}}
        for row, data in samples
    ]
    file = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, schema=HF_SCHEMA), file, row_group_size=100, compression="zstd")
    return file.getvalue()


def tar_images(data: bytes) -> Iterator[tuple[str, bytes]]:
    """Names and bytes of the images in a WebDataset tar; nothing is ever unpacked to a disk."""
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        for info in tar:
            if info.isfile() and info.name.endswith(".png"):
                yield info.name, _content(tar, info)


def tar_mismatches(data: bytes) -> Iterator[tuple[str, str]]:
    """Ids of a WebDataset tar whose .json or .txt is missing, damaged or at odds with the record inside its image."""
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        members = {info.name: info for info in tar if info.isfile()}
        for name in members:
            if name.endswith(".png"):
                id_ = name.removesuffix(".png")
                beside = [f"{id_}.{suffix}" for suffix in ("png", "json", "txt")]
                parts = [_content(tar, members[said]) if said in members else None for said in beside]
                if problem := _mismatch(*parts):
                    yield id_, problem


def _content(tar: tarfile.TarFile, info: tarfile.TarInfo) -> bytes:
    file = tar.extractfile(info)
    assert file is not None
    return file.read()


def _mismatch(image: bytes, words: bytes | None, prompt: bytes | None) -> str:
    if words is None or prompt is None:
        return f"has no .{'json' if words is None else 'txt'} beside it"
    try:
        record = read_record(io.BytesIO(image))
    except UserError:
        return "is an image whose record cannot be read"
    if record is None:
        return "is an image without a record"
    try:
        said = json.loads(words)
        told = (said["prompt"], said["seed"], said["model_hash"], said["synthetic"])
    except (ValueError, KeyError, TypeError):
        return "has a damaged .json beside it"
    if told != (record.prompt, record.seed, record.model_hash, True):
        return "has a .json beside it that is not its own"
    return "" if prompt == record.prompt.encode() else "has a .txt beside it that is not its prompt"


def parquet_images(data: bytes) -> Iterator[tuple[str, bytes]]:
    """Names and bytes of the images in a Parquet file."""
    for batch in pq.ParquetFile(io.BytesIO(data)).iter_batches(batch_size=100, columns=["image"]):
        for image in batch.column("image").to_pylist():
            yield image["path"], image["bytes"]


PACKS: dict[str, tuple[Callable[[Sequence[Sample]], bytes], str]] = {
    "webdataset": (tar_bytes, ".tar"),
    "parquet": (parquet_bytes, ".parquet"),
}
UNPACK: dict[str, Callable[[bytes], Iterator[tuple[str, bytes]]]] = {
    "webdataset": tar_images,
    "parquet": parquet_images,
}


class Packed:
    """Collects images and writes them as one file when they are many, large or old; rows come back with the file."""

    def __init__(
        self, store: Store, pack: Callable[[Sequence[Sample]], bytes], suffix: str, stem: str, per_file: int
    ) -> None:
        self.store, self.pack, self.suffix, self.stem, self.per_file = store, pack, suffix, stem, per_file
        self._samples: list[Sample] = []
        self._number, self._bytes, self._since = 0, 0, 0.0

    def add(self, row: Row, picture: Picture) -> list[Row]:
        data = png(picture)
        if not self._samples:
            self._since = time.monotonic()
        self._samples.append((row | described(data), data))
        self._bytes += len(data)
        full = len(self._samples) >= self.per_file or self._bytes >= LARGEST
        return self.flush() if full or time.monotonic() - self._since > LONGEST else []

    def flush(self) -> list[Row]:
        if not self._samples:
            return []
        name = f"{PACKED}/{self.stem}-{self._number:05d}{self.suffix}"
        data = self.pack(self._samples)
        self.store.write(name, data)
        where = {"file": name, "file_size": len(data)}
        rows = [row | where | {"member": f"{row['id']}.png"} for row, _ in self._samples]
        self._samples, self._bytes, self._number = [], 0, self._number + 1
        return rows


def set_writer(format_: Format, store: Store, stem: str, per_file: int) -> Writer:
    """The writer of a format; packed files are called after the worker's stem."""
    if format_ in LOOSE:
        return loose_writer(format_, store, IMAGES)
    pack, suffix = PACKS[format_]
    return Packed(store, pack, suffix, stem, per_file)


def bytes_of(format_: Format, picture: Picture) -> int:
    """What an image takes on the disk."""
    if format_ in LOOSE:
        return len(LOOSE[format_][0](picture))
    row = {name: str(getattr(picture.record, name, "")) for name in SAID} | {"id": "0", "age": None, "seed": 0}
    return len(PACKS[format_][0]([(row, png(picture))]))
