"""WebDataset shards: tar archives in which files that share a name up to the first dot are one sample.

`key.png` (or .jpg, .dcm ...) is the image, `key.json` its columns, every other small text, such as the report in
`key.txt`, a column called by its ending. Nothing is unpacked: an index row points to the image's bytes inside the tar.
"""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import BinaryIO

import pandas as pd
from tqdm import tqdm

from gen.data.addresses import part
from gen.data.images import IMAGE_SUFFIXES
from gen.data.sources.adapter import Tables
from gen.data.sources.mapping import as_text, completed, renamed
from gen.data.sources.shards import HEAD, listed, opened, split_of, suffix_of
from gen.errors import UserError

LONGEST_TEXT = 2**20  # bytes of a .json or .txt member, and of a tar header's own extensions
TEXTS = ("txt", "text", "caption", "cls", "report")
PACKED = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst")


@dataclass
class Sample:
    """The members of one key: the address of each image by its ending, and the columns of the texts."""

    key: str
    images: dict[str, str] = field(default_factory=dict)
    columns: dict[str, str] = field(default_factory=dict)


def read(places: Sequence[str], columns: Mapping[str, str]) -> Tables:
    """Index rows of every sample of some shards; members that cannot be used come back as rejected.

    `columns` maps index columns to a JSON's fields or to endings, `image` to the ending of the one of several images.
    Errors: UserError for archives that are compressed, cut off or damaged, and where no sample has an image.
    """
    shards = [shard for place in places for shard in listed(place, (".tar", *PACKED))]
    rejected: list[tuple[str, str]] = []
    rows = [
        {"shard": shard, "sample": sample, "image": _image(sample, columns.get("image", ""), shard, rejected)}
        for shard in tqdm(shards, desc="shards", unit="", disable=None)
        for sample in samples(shard, rejected)
    ]
    rows = [row for row in rows if row["image"]]
    if not rows:
        reason = f" (first member left out: {': '.join(rejected[0])})" if rejected else ""
        raise UserError(f"{', '.join(places)}: no sample with an image in {len(shards)} shards{reason}")
    return Tables(_table(rows, columns, places[0]), rejected=rejected)


def samples(shard: str, rejected: list[tuple[str, str]]) -> Iterator[Sample]:
    """The samples of one shard in order; unusable members are added to `rejected` as (name, reason)."""
    sample: Sample | None = None
    with opened(shard) as file:
        for member in members(shard, file):
            path = PurePosixPath(member.name)
            reason = _refusal(member, path)
            if reason:
                rejected.append((f"{shard}#{member.name}", reason))
                continue
            if not member.isreg() or path.name.startswith(("._", ".")):  # folders; a Mac's shadows
                continue
            name, _, ending = path.name.partition(".")
            key = str(path.with_name(name))
            if sample is None or sample.key != key:
                if sample is not None:
                    yield sample
                sample = Sample(key)
            _take(sample, ending.lower(), member, shard, file, rejected)
    if sample is not None:
        yield sample


def members(shard: str, file: BinaryIO) -> Iterator[tarfile.TarInfo]:
    """The headers of a tar that is whole.

    Errors: UserError for a compressed archive, one that is cut off and one with a damaged header.
    """
    if shard.lower().endswith(PACKED):
        raise UserError(f"{shard}: compressed archives have no place to jump to; unpack it to a plain .tar")
    size = file.seek(0, 2)
    file.seek(0)
    try:
        archive = tarfile.open(fileobj=_Guarded(file, shard), mode="r:")  # noqa: SIM115  read to its end below
        while (member := archive.next()) is not None:
            archive.members.clear()  # type: ignore[attr-defined]  # a million headers are not kept
            if member.sparse is None and member.isreg() and member.offset_data + member.size > size:
                raise UserError(f"{shard}: cut off in {member.name!r} at byte {size}; copy it again")
            if archive.offset <= member.offset or member.size < 0:
                raise UserError(f"{shard}: damaged header at byte {member.offset}; copy it again")
            yield member
            file.seek(archive.offset)  # where the next header is
    except (tarfile.TarError, OverflowError, ValueError, EOFError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{shard}: not a readable tar archive ({error}); copy it again") from None
    _check_end(shard, file, archive.offset, size)


def _check_end(shard: str, file: BinaryIO, offset: int, size: int) -> None:
    """A block of zeros ends an archive; tarfile takes a damaged header or the end of the file for it."""
    file.seek(offset)
    block = file.read(tarfile.BLOCKSIZE)
    if any(block):
        raise UserError(f"{shard}: damaged header at byte {offset} of {size}; copy it again")
    if not block:
        raise UserError(f"{shard}: cut off at byte {size}, before its end mark; copy it again")


class _Guarded:
    """A file of which tarfile cannot ask for more at once than any honest header takes."""

    def __init__(self, file: BinaryIO, shard: str) -> None:
        self.file, self.shard = file, shard
        self.seek, self.tell = file.seek, file.tell

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= LONGEST_TEXT:
            raise UserError(f"{self.shard}: a header of {size} bytes; no honest archive has one")
        return self.file.read(size)


def _refusal(member: tarfile.TarInfo, path: PurePosixPath) -> str:
    """Why a member is left out, or nothing."""
    if path.is_absolute() or ".." in path.parts:
        return "its name leads out of the archive"
    if member.issym() or member.islnk():
        return "a link, which holds no bytes of its own"
    if member.sparse is not None or not (member.isreg() or member.isdir()):
        return "neither a plain file nor a folder"
    return ""


def _take(
    sample: Sample, ending: str, member: tarfile.TarInfo, shard: str, file: BinaryIO, rejected: list[tuple[str, str]]
) -> None:
    """Put one member into its sample."""
    suffix = f".{ending.rpartition('.')[2]}"
    is_text = ending == "json" or ending in TEXTS
    if not (is_text or suffix in IMAGE_SUFFIXES):
        return
    if is_text and member.size > LONGEST_TEXT:
        rejected.append((f"{shard}#{member.name}", f"a text of {member.size} bytes"))
        return
    file.seek(member.offset_data)
    data = file.read(member.size if is_text else min(member.size, HEAD))
    if not is_text:
        found = suffix_of(data) or (suffix if suffix in (".dcm", ".dicom") and data else "")
        if not found:
            rejected.append((f"{shard}#{member.name}", "no image"))
            return
        name = PurePosixPath(member.name).name
        sample.images[ending] = part(shard, member.offset_data, member.size, name)
    elif ending == "json":
        sample.columns |= _fields(data, f"{shard}#{member.name}", rejected)
    else:
        sample.columns[ending] = data.decode("utf-8", "replace").strip()


def _fields(data: bytes, name: str, rejected: list[tuple[str, str]]) -> dict[str, str]:
    """The top level of a JSON object as text; lists joined by ";", objects left out."""
    try:
        values = json.loads(data)
    except (ValueError, RecursionError) as error:
        rejected.append((name, f"no JSON ({error})"))
        return {}
    if not isinstance(values, dict):
        rejected.append((name, "no JSON object"))
        return {}
    return {str(key): as_text(value) for key, value in values.items() if not isinstance(value, dict)}


def _image(sample: Sample, wanted: str, shard: str, rejected: list[tuple[str, str]]) -> str:
    """The address of a sample's image: of the ending asked for, or else the plainest ending."""
    ending = wanted or min(sample.images, key=lambda ending: ending.count("."), default="")
    if ending not in sample.images:
        have = ", ".join(sample.images) or "none"
        rejected.append((f"{shard}#{sample.key}", f"no image {wanted!r} (images: {have})" if wanted else "no image"))
    return sample.images.get(ending, "")


def _table(rows: Sequence[dict], columns: Mapping[str, str], place: str) -> pd.DataFrame:
    raw = pd.DataFrame([row["sample"].columns for row in rows]).fillna("")
    raw = raw.drop(columns=raw.columns.intersection(["image", "path", "file", "filename"]))  # names from before packing
    columns = {target: column for target, column in columns.items() if target != "image"}
    table = renamed(place, raw, columns).drop(columns="image", errors="ignore")
    keys = [row["sample"].key for row in rows]
    if len(set(keys)) < len(keys):  # numbered anew in every shard
        keys = [f"{PurePosixPath(row['shard']).stem}/{row['sample'].key}" for row in rows]
    table.insert(0, "image", [row["image"] for row in rows])
    splits = [split_of(row["shard"]) for row in rows]
    if "split" not in table and all(splits):
        table["split"] = splits
    return completed(table, keys, PurePosixPath(place).stem)
