"""Deflated DICOM files that would fill the memory, found before pydicom inflates them in one go."""

from __future__ import annotations

import zlib
from pathlib import Path

from gen.errors import UserError

LARGEST_DATASET = 2**30  # bytes
META_START = 144  # bytes: preamble, DICM and the length of the meta group
CHUNK = 2**20  # bytes inflated at a time


def refuse_bomb(path: Path) -> None:
    """Raise UserError for a deflated data set beyond LARGEST_DATASET; files of other syntaxes pass."""
    from pydicom.filereader import read_file_meta_info
    from pydicom.uid import DeflatedExplicitVRLittleEndian

    meta = read_file_meta_info(path)
    if meta.get("TransferSyntaxUID") != DeflatedExplicitVRLittleEndian:
        return
    inflate, size = zlib.decompressobj(-zlib.MAX_WBITS), 0
    with path.open("rb") as file:
        file.seek(META_START + int(meta.FileMetaInformationGroupLength))
        data = file.read(CHUNK)
        while data:
            size += len(inflate.decompress(data, CHUNK))
            if size > LARGEST_DATASET:
                raise UserError(f"{path}: inflates to more than {LARGEST_DATASET >> 20} MiB; export it uncompressed")
            data = inflate.unconsumed_tail or file.read(CHUNK)
