"""What the readers of shards share: which shards a user means, and what the first bytes of an image tell."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from gen.data.addresses import filesystem, is_url
from gen.data.sources.values import SPLITS
from gen.errors import UserError

MAGIC = {b"\x89PNG\r\n\x1a\n": ".png", b"\xff\xd8\xff": ".jpg", b"II*\0": ".tif", b"MM\0*": ".tif"}
PREAMBLE = 128  # bytes before DICOM's mark
HEAD = PREAMBLE + 4  # bytes that tell what an image is
SPLIT_WORDS = {"train", "val", "test", *SPLITS}
BRACES = re.compile(r"\{(\d+)\.\.(\d+)\}")


def suffix_of(head: bytes) -> str:
    """The suffix of an image's format by its first `HEAD` bytes, empty for anything else."""
    if head[PREAMBLE:HEAD] == b"DICM":
        return ".dcm"
    return next((suffix for magic, suffix in MAGIC.items() if head.startswith(magic)), "")


def split_of(shard: str) -> str:
    """train, val or test where the shard's name begins with such a word or its folder is called so; else empty."""
    path = PurePosixPath(shard)
    words = (re.split(r"[-_.\d]", path.name.lower())[0], path.parent.name.lower())
    return next((SPLITS.get(word, word) for word in words if word in SPLIT_WORDS), "")


def listed(place: str, suffixes: Sequence[str]) -> list[str]:
    """Addresses of the shards at a file, a folder, a glob or a range {000..127}, local or on a URL, in order.

    Errors: UserError where there is none.
    """
    found = [shard for one in _ranged(place) for shard in _matching(one, suffixes)]
    if not found:
        raise UserError(f"{place}: no {' or '.join(suffixes)} file there; give a file, a folder or a pattern")
    return sorted(set(found))


@contextmanager
def opened(shard: str) -> Iterator[BinaryIO]:
    """A shard for reading and seeking. Errors: UserError where it cannot be opened."""
    try:
        if is_url(shard):
            system, path = filesystem(shard)
            file = system.open(path, "rb")
        else:
            file = open(shard, "rb")  # noqa: SIM115  closed below
    except UserError:
        raise
    except Exception as error:  # every storage client raises types of its own
        raise UserError(f"{shard}: cannot be opened ({' '.join(str(error).split())})") from None
    with file:
        yield file


def _ranged(place: str) -> Iterator[str]:
    """`shard-{000..002}.tar` as shard-000.tar, shard-001.tar, shard-002.tar."""
    braces = BRACES.search(place)
    if braces is None:
        yield place
        return
    first, last = braces[1], braces[2]
    for number in range(int(first), int(last) + 1):
        yield from _ranged(place[: braces.start()] + f"{number:0{len(first)}}" + place[braces.end() :])


def _matching(place: str, suffixes: Sequence[str]) -> list[str]:
    if is_url(place):
        return [shard for shard in _remote(place) if shard.lower().endswith(tuple(suffixes))]
    if Path(place).is_dir():
        files = [str(path) for path in Path(place).rglob("*") if path.is_file()]
    else:
        files = [path for path in (glob.glob(place) or [place]) if os.path.isfile(path)]
    return [os.path.abspath(path) for path in files if path.lower().endswith(tuple(suffixes))]


def _remote(place: str) -> list[str]:
    system, path = filesystem(place)
    try:
        if any(sign in path for sign in "*?["):
            paths = system.glob(path)
        else:
            paths = [path] if system.isfile(path) else system.find(path)
    except Exception as error:  # every storage client raises types of its own
        raise UserError(f"{place}: cannot be listed ({' '.join(str(error).split())})") from None
    return [system.unstrip_protocol(found) for found in paths]
