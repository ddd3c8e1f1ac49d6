"""Deflated DICOM files that would fill the memory, found before pydicom inflates them in one go."""

from __future__ import annotations

import zlib

from gen.errors import UserError

LARGEST_DATASET = 2**28  # bytes; the largest radiographs have a quarter of it
DEFLATED = b"1.2.840.10008.1.2.1.99"  # Deflated Explicit VR Little Endian
MAGIC, GROUP_LENGTH, META_START = slice(128, 132), slice(140, 144), 144  # preamble, DICM, length of the meta group
CHUNK = 2**20  # bytes inflated at a time


def refuse_bomb(data: bytes, path: str) -> None:
    """Raise UserError for a deflated data set beyond LARGEST_DATASET; files of other syntaxes pass."""
    start = META_START + int.from_bytes(data[GROUP_LENGTH], "little")
    if data[MAGIC] != b"DICM" or DEFLATED not in data[META_START:start]:
        return
    inflate, size, rest = zlib.decompressobj(-zlib.MAX_WBITS), 0, data[start:]
    while rest:
        size += len(inflate.decompress(rest, CHUNK))
        if size > LARGEST_DATASET:
            raise UserError(f"{path}: inflates to more than {LARGEST_DATASET >> 20} MiB; export it uncompressed")
        rest = inflate.unconsumed_tail
