"""Images of a set as they lie in its files."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import PurePosixPath

import numpy as np
import pyarrow as pa

from gen.data.looks import THUMBNAIL
from gen.errors import UserError

from .packing import UNPACK
from .row import Row
from .store import Store

DAMAGED = (tarfile.TarError, pa.ArrowException, OSError, EOFError, ValueError, KeyError, SyntaxError)


def by_file(rows: Sequence[Row]) -> Iterator[tuple[str, list[Row]]]:
    """Rows of the manifest in the order of their files, file by file."""
    ordered = sorted(rows, key=lambda row: (str(row["file"]), str(row["member"])))
    for file, same in groupby(ordered, key=lambda row: str(row["file"])):
        yield file, list(same)


def images_of(store: Store, row: Row) -> dict[str, bytes]:
    """Every image of a row's file by its member's name, empty for a file of one image.

    Errors: UserError for a file that cannot be read.
    """
    unpack = UNPACK.get(str(row["format"]))
    try:
        data = store.read(str(row["file"]))
        return dict(unpack(data)) if unpack and row["member"] else {"": data}
    except DAMAGED as error:
        raise _unreadable(store, row, error) from None


def suffix_of(row: Row) -> str:
    """The ending of an image's name, for example .png."""
    return PurePosixPath(str(row["member"] or row["file"])).suffix


def thumbnails(store: Store, rows: Sequence[Row]) -> Iterator[tuple[Row, np.ndarray]]:
    """Rows with small grey pictures of their images, file by file. Thumbnails [64, 64] uint8.

    Errors: UserError for an image that cannot be read.
    """
    from tqdm import tqdm

    with tqdm(total=len(rows), desc="compare", unit="image", delay=1) as bar:
        for _, same in by_file(rows):
            images = images_of(store, same[0])
            for row in same:
                try:
                    yield row, _thumbnail(images[str(row["member"])], str(row["format"]))
                except DAMAGED as error:
                    raise _unreadable(store, row, error) from None
            bar.update(len(same))


def _thumbnail(data: bytes, format_: str) -> np.ndarray:
    from PIL import Image

    from gen.data.images import resize

    if format_ == "dicom":
        from pydicom import dcmread

        pixels = dcmread(io.BytesIO(data)).pixel_array / 255.0
    else:
        with Image.open(io.BytesIO(data)) as image:
            pixels = np.asarray(image) / (255.0 if image.mode == "L" else 65535.0)
    return np.round(np.clip(resize(pixels, THUMBNAIL), 0, 1) * 255).astype(np.uint8)


def _unreadable(store: Store, row: Row, error: Exception) -> UserError:
    words = " ".join(str(error).split())[:100] or type(error).__name__
    remedy = "run the same command again with --recheck: it is drawn anew"
    return UserError(f"{store.address}/{row['file']}: cannot be read ({words}); {remedy}")
