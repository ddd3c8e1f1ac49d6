"""Writing files so that a reader sees the old one or the new one, never half of one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Give a temporary name beside `path`, which takes its place if the block ends well and vanishes if not."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        _flush(temporary)
        os.replace(temporary, path)
    except OSError as error:
        if error.filename in (None, str(temporary)):
            error.filename = str(path)  # the name the user knows
        raise
    finally:
        temporary.unlink(missing_ok=True)


def forget_abandoned(path: str | Path) -> None:
    """Remove what processes of this machine that were killed while writing `path` have left beside it."""
    path = Path(path)
    for left in path.parent.glob(f".{path.name}.*.tmp"):
        owner = left.name.split(".")[-2]
        if owner.isdecimal() and not _runs(int(owner)):
            left.unlink(missing_ok=True)


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)  # asks, and sends nothing
    except ProcessLookupError:
        return False
    except OSError:
        pass  # another user's
    return True


@contextmanager
def one_at_a_time(folder: Path) -> Iterator[None]:
    """Wait until no other process is inside such a block for a folder, where its file system knows locks."""
    import fcntl

    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def plain_cell(text: str) -> str:
    """A CSV cell that a spreadsheet shows and does not run: text that begins like a formula gets an apostrophe."""
    if not text.lstrip("'").startswith(FORMULA):
        return text
    try:
        float(text)
    except ValueError:
        return f"'{text}"
    return text


def cell_text(cell: str) -> str:
    """The text that `plain_cell` was given."""
    guarded = cell[:1] == "'" and cell[1:].lstrip("'").startswith(FORMULA)
    return cell[1:] if guarded else cell


def _flush(path: Path) -> None:
    """Bring a file's bytes to the disk: a rename that overtakes them would leave an empty file after a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
