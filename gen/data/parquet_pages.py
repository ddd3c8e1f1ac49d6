"""Where the values of a Parquet column lie in the file, so that one of them is read without its neighbours.

A reader of Parquet gives row groups, hundreds of images at a time. A column chunk is a run of pages of about a
megabyte, each a header (Thrift, compact protocol) and a block that is compressed by itself, in which plain values
follow one another: (block, place inside) addresses one value. Format: github.com/apache/parquet-format, Encodings.md.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from gen.data.addresses import LARGEST_BLOCK

if TYPE_CHECKING:
    from pyarrow.parquet import ColumnChunkMetaData

DATA, DICTIONARY, DATA_V2 = 0, 2, 3  # kinds of pages
PLAIN, DICTIONARY_CODES = 0, (2, 8)  # encodings
CODECS = {"UNCOMPRESSED": "", "LZ4": "lz4_raw"}  # Arrow's name for the one that Parquet has
HEADER_BYTES = 2**16  # more than any header has whose statistics are cut, as all writers cut them
DEEPEST = 8  # structs within structs


@dataclass(frozen=True)
class Block:
    """A page's block: (offset, length) in the file, its codec or "", and what it unpacks to."""

    span: tuple[int, int]
    codec: str
    data: bytes


@dataclass(frozen=True)
class Value:
    """One value: (start, length) inside an unpacked block."""

    block: Block
    inner: tuple[int, int]

    def head(self, length: int) -> bytes:
        """Its first bytes."""
        start = self.inner[0]
        return self.block.data[start : start + min(length, self.inner[1])]


def values(file: BinaryIO, chunk: ColumnChunkMetaData, levels: int) -> Iterator[Value | None]:
    """Every value of a chunk of byte strings in the order of the rows, None where a row has none.

    `levels` is the column's greatest definition level; it must not repeat within a row.
    Errors: ValueError for damaged pages and for encodings other than plain and dictionary.
    """
    codec = CODECS.get(chunk.compression, chunk.compression.lower())
    position = chunk.dictionary_page_offset or chunk.data_page_offset
    left, dictionary = chunk.num_values, []
    while left > 0:
        header, start = _header(file, position)
        packed, size = header[3], header[2]
        if not (0 <= packed <= LARGEST_BLOCK and 0 <= size <= LARGEST_BLOCK):
            raise ValueError(f"page of {packed} bytes at byte {position}")
        file.seek(start)
        body = file.read(packed)
        if len(body) != packed:
            raise ValueError(f"page at byte {position} is cut off")
        if header[1] == DICTIONARY:
            block = _block(start, body, codec, size)
            dictionary = list(_plain(block, 0, header[7][1]))
        elif header[1] in (DATA, DATA_V2):
            page = _data(header, start, body, codec, levels)
            yield from _rows(page, dictionary)
            left -= len(page.present)
        position = start + packed


@dataclass(frozen=True)
class _Page:
    block: Block
    values_at: int
    encoding: int
    present: np.ndarray  # [rows] bool


def _data(header: dict, start: int, body: bytes, codec: str, levels: int) -> _Page:
    if header[1] == DATA_V2:
        about = header[8]
        before = about.get(6, 0) + about.get(5, 0)  # level bytes, which are not compressed
        present = _present(body[about.get(6, 0) : before], about[1], levels)
        packed = codec if about.get(7, True) else ""
        return _Page(_block(start + before, body[before:], packed, header[2] - before), 0, about[4], present)
    about, block = header[5], _block(start, body, codec, header[2])
    if not levels:
        return _Page(block, 0, about[2], np.ones(_count(about[1]), dtype=bool))
    (length,) = struct.unpack_from("<I", block.data)
    return _Page(block, 4 + length, about[2], _present(block.data[4 : 4 + length], about[1], levels))


def _rows(page: _Page, dictionary: Sequence[Value]) -> Iterator[Value | None]:
    number = int(page.present.sum())
    if page.encoding == PLAIN:
        found = _plain(page.block, page.values_at, number)
    elif page.encoding in DICTIONARY_CODES:
        codes = page.block.data[page.values_at :]
        found = (dictionary[code] for code in (_hybrid(codes[1:], codes[0], number) if number else ()))
    else:
        raise ValueError(f"values in encoding {page.encoding}; only plain and dictionary values can be addressed")
    for there in page.present:
        yield next(found) if there else None


def _plain(block: Block, at: int, number: int) -> Iterator[Value]:
    for _ in range(number):
        (length,) = struct.unpack_from("<I", block.data, at)
        at += 4 + length
        if at > len(block.data):
            raise ValueError("a value runs over the end of its page")
        yield Value(block, (at - length, length))


def _block(start: int, body: bytes, codec: str, size: int) -> Block:
    import pyarrow

    if not codec:
        return Block((start, len(body)), "", body)
    return Block((start, len(body)), codec, pyarrow.Codec(codec).decompress(body, size, asbytes=True))


def _present(data: bytes, number: int, levels: int) -> np.ndarray:
    if not levels:
        return np.ones(_count(number), dtype=bool)
    return _hybrid(data, levels.bit_length(), number) == levels


def _hybrid(data: bytes, width: int, number: int) -> np.ndarray:
    """Run lengths and bit-packed groups of eight. Shapes: -> [number]."""
    found, total, at = [np.zeros(0, dtype=np.int64)], 0, 0
    weights = 1 << np.arange(width)
    while total < _count(number):
        reader = _Compact(data, at)
        head = reader.varint()
        at = reader.at
        if head & 1:
            length = (head >> 1) * width
            bits = np.unpackbits(np.frombuffer(data[at : at + length], dtype=np.uint8), bitorder="little")
            run = bits[: len(bits) // max(width, 1) * width].reshape(-1, max(width, 1)) @ weights
        else:
            length = (width + 7) // 8
            run = np.full(min(head >> 1, number - total), int.from_bytes(data[at : at + length], "little"))
        at += length
        if not len(run):
            raise ValueError("an empty run of levels or codes")
        found.append(run)
        total += len(run)
    return np.concatenate(found)[:number]


def _count(number: int) -> int:
    """A page's number of values, refused where no page could have as many."""
    if not 0 <= number <= LARGEST_BLOCK:
        raise ValueError(f"a page of {number} values")
    return number


def _header(file: BinaryIO, position: int) -> tuple[dict, int]:
    """A page's header by field numbers, and where the page's body starts."""
    file.seek(position)
    reader = _Compact(file.read(HEADER_BYTES))
    try:
        header = reader.struct()
        return header | {1: header[1], 2: header[2], 3: header[3]}, position + reader.at
    except (IndexError, KeyError, struct.error):
        raise ValueError(f"no page header at byte {position}") from None


class _Compact:
    """Thrift's compact protocol: structs as dicts of field numbers."""

    def __init__(self, data: bytes, at: int = 0) -> None:
        self.data, self.at = data, at

    def varint(self) -> int:
        number, shift = 0, 0
        while True:
            byte = self.data[self.at]
            self.at += 1
            number |= (byte & 127) << shift
            if byte < 128:
                return number
            shift += 7
            if shift > 63:
                raise ValueError("a number of more than 64 bits")

    def struct(self, depth: int = 0) -> dict:
        fields, field = {}, 0
        if depth > DEEPEST:
            raise ValueError("structs nested too deep")
        while True:
            head = self.data[self.at]
            self.at += 1
            if head == 0:
                return fields
            field = field + (head >> 4) if head >> 4 else self._signed()
            fields[field] = self._value(head & 15, depth)

    def _signed(self) -> int:
        number = self.varint()
        return (number >> 1) ^ -(number & 1)

    def _value(self, kind: int, depth: int) -> object:
        if kind in (1, 2):
            return kind == 1
        if kind in (4, 5, 6):
            return self._signed()
        if kind in (3, 7, 8):  # a byte, a double, a string
            length = {3: 1, 7: 8}.get(kind) or self.varint()
            self.at += length
            return self.data[self.at - length : self.at]
        if kind == 12:
            return self.struct(depth + 1)
        raise ValueError(f"type {kind} in a page header")
