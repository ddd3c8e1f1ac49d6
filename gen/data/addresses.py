"""Where the bytes of an image lie, in one line of text: the values of an index's column `image`.

| address | its bytes |
|---|---|
| `images/1.png` | a file |
| `s3://bucket/1.png` | a file at any fsspec URL (extra [data]) |
| `FILE#OFFSET+LENGTH/NAME` | a part of a file: a member of a tar, a value of an Arrow file |
| `FILE#OFFSET+LENGTH:CODEC:SIZE:START+LENGTH/NAME` | a part of a block that unpacks to SIZE bytes: of a Parquet page |

FILE is itself a path or a URL. NAME, which has no slash, says what the part is called and, by its suffix, what it is.
A part is read by one seek, or one ranged request: any row of any shard costs the same, so shards are shuffled, divided
among ranks and workers and resumed exactly as files are.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gen.errors import UserError

URL = re.compile(r"[a-z][a-z0-9+.\-]*(::[a-z][a-z0-9+.\-]*)*://", re.IGNORECASE)
PART = re.compile(
    r"(?P<file>.+)#(?P<span>\d+\+\d+)(:(?P<codec>\w+):(?P<size>\d+):(?P<inner>\d+\+\d+))?/(?P<name>[^/]*)"
)
LARGEST_BLOCK = 2**30  # bytes; nothing that was written in earnest unpacks to more
ATTEMPTS, PAUSE = 3, 0.5  # readings of a URL, seconds between the first two


@dataclass(frozen=True)
class Address:
    """A parsed address; `span` and `inner` are (first byte, number of bytes)."""

    file: str
    span: tuple[int, int] | None = None
    codec: str = ""
    size: int = 0
    inner: tuple[int, int] = (0, 0)

    @classmethod
    def of(cls, text: str) -> Address:
        """Parse; whatever has no part is a file."""
        match = PART.fullmatch(text) if "#" in text else None
        if match is None:
            return cls(text)
        span = _span(match["span"])
        if match["codec"] is None:
            return cls(match["file"], span)
        return cls(match["file"], span, match["codec"], int(match["size"]), _span(match["inner"]))


def part(file: str, offset: int, length: int, name: str) -> str:
    """The address of a part of a file."""
    return f"{file}#{offset}+{length}/{os.path.basename(name)}"


def packed_part(file: str, block: tuple[int, int], codec: str, size: int, inner: tuple[int, int], name: str) -> str:
    """The address of a part of a compressed block that unpacks to `size` bytes."""
    return f"{file}#{block[0]}+{block[1]}:{codec}:{size}:{inner[0]}+{inner[1]}/{os.path.basename(name)}"


def is_url(address: str) -> bool:
    """Whether fsspec, and not the operating system, finds the file."""
    return URL.match(address) is not None


def read_bytes(address: str) -> bytes:
    """All bytes at an address.

    Errors: UserError for what is absent, cut off, unreachable or damaged.
    """
    where = Address.of(address)
    data = _read_url(where, address) if is_url(where.file) else _read_local(where, address)
    if where.span and len(data) != where.span[1]:
        raise UserError(f"{address}: {where.file} ends before this part; copy it again or build the index again")
    return _unpacked(data, where, address) if where.codec else data


def present(addresses: Sequence[str]) -> np.ndarray:
    """Which addresses lie within a file that is there, asking once a file. Shapes: -> [len(addresses)] bool."""
    parsed = [Address.of(address) for address in addresses]
    sizes = _sizes({where.file for where in parsed})
    ends = (sum(where.span) if where.span else 0 for where in parsed)
    return np.array([sizes[w.file] >= end for w, end in zip(parsed, ends, strict=True)], dtype=bool)


def filesystem(url: str):
    """The fsspec file system of a URL, and the path on it."""
    try:
        from fsspec.core import url_to_fs

        return url_to_fs(url)
    except ImportError as error:
        need = "pip install cxr-gen[data]" if "fsspec" in str(error) else str(error)
        raise UserError(f"{url}: cannot open such an address; {need}") from None
    except ValueError as error:
        raise UserError(f"{url}: {error}; see fsspec for the kinds of addresses") from None


def _span(text: str) -> tuple[int, int]:
    first, length = text.split("+")
    return int(first), int(length)


def _read_local(where: Address, address: str) -> bytes:
    try:
        with open(where.file, "rb", buffering=0 if where.span else -1) as file:
            if where.span is None:
                return file.read()
            # never more than is there, whatever an index says
            offset, length = where.span
            file.seek(offset)
            return file.read(max(0, min(length, os.fstat(file.fileno()).st_size - offset)))
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        raise UserError(f"{address}: no such image file; correct the path or build the index again") from None
    except (OSError, ValueError) as error:  # ValueError: a null byte in the name
        raise UserError(f"{address}: cannot be opened ({getattr(error, 'strerror', error)})") from None


def _read_url(where: Address, address: str) -> bytes:
    system, path = filesystem(where.file)
    first, last = (where.span[0], sum(where.span)) if where.span else (None, None)
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return system.cat_file(path, start=first, end=last)
        except FileNotFoundError:
            raise UserError(f"{address}: no such image file; correct the path or build the index again") from None
        except PermissionError as error:
            raise UserError(f"{address}: access denied ({error}); see fsspec on credentials") from None
        except Exception as error:  # every storage client raises types of its own
            if attempt == ATTEMPTS:
                reason = " ".join(str(error).split()) or type(error).__name__
                raise UserError(f"{address}: cannot be read ({reason}; tried {ATTEMPTS} times)") from None
            time.sleep(PAUSE * 2 ** (attempt - 1))
    raise AssertionError("unreachable")


def _unpacked(data: bytes, where: Address, address: str) -> bytes:
    import pyarrow

    start, length = where.inner
    if not start + length <= where.size <= LARGEST_BLOCK:
        raise UserError(f"{address}: no such part of a block of {where.size} bytes; build the index again")
    try:
        block = pyarrow.Codec(where.codec).decompress(data, where.size)
    except (OSError, ValueError, NotImplementedError) as error:  # pyarrow's errors are kinds of these
        raise UserError(f"{address}: damaged block ({error}); copy the file again") from None
    return memoryview(block)[start : start + length].tobytes()


def _sizes(files: set[str]) -> dict[str, int]:
    """Bytes of each file, -1 where there is none; the files of one remote folder are listed together."""
    sizes = {file: _local_size(file) for file in files if not is_url(file)}
    folders: dict[str, list[str]] = {}
    for file in files - set(sizes):
        folders.setdefault(file.rpartition("/")[0], []).append(file)
    for members in folders.values():
        sizes |= _remote_sizes(members)
    return sizes


def _local_size(file: str) -> int:
    path = Path(file)
    try:
        return path.stat().st_size if path.is_file() else -1
    except (OSError, ValueError):
        return -1


def _remote_sizes(files: Sequence[str]) -> dict[str, int]:
    system, first = filesystem(files[0])
    try:
        listed = system.ls(system._parent(first), detail=True) if len(files) > 1 else []
    except Exception:  # not every storage lists its folders
        listed = []
    known = {entry["name"]: entry.get("size") for entry in listed if entry.get("type") == "file"}
    return {file: _remote_size(file, known.get(filesystem(file)[1])) for file in files}


def _remote_size(file: str, known: int | None) -> int:
    if known is not None:
        return known
    system, path = filesystem(file)
    try:
        entry = system.info(path)
        return int(entry.get("size") or 0) if entry.get("type") == "file" else -1
    except Exception:  # absent, or not to be reached: the reading says which
        return -1
