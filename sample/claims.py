"""Who may write into a folder: one worker a shard, and workers of one split, at a time."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from gen.errors import UserError

from .split import Shard
from .store import Folder, Store

CLAIMS = ".claims"  # a folder whose files the workers lock; a lock dies with its process, however that ends
PATIENCE = 600.0  # seconds that a worker waits for another one to begin
WAIT_FOR_IT = "wait until it has ended"


@contextmanager
def claim(store: Store, shard: Shard, prepare: Callable[[bool], None]) -> Iterator[Callable[[], bool]]:
    """Hold a shard of a folder; `prepare(alone)` runs before any other worker comes in if this one is alone.

    Gives a function that says whether this worker is the last one; if so no other comes in until it ends, if not it has
    to write no more. Of any number of workers that ask at their end, the one that asks last is told so.

    Object stores and some file systems know no locks: there nobody is ever told to be alone, shards have to be
    disjoint, and the last worker is one that draws the whole plan.
    Errors: UserError when the shard is being drawn already, or workers of another split are at work.
    """
    if not isinstance(store, Folder) or not _can_lock(store.path):
        prepare(False)
        yield lambda: shard.count == 1
        return
    folder = store.path / CLAIMS
    folder.mkdir(exist_ok=True)
    with _opened(folder / "all") as everybody, _opened(folder / f"{shard.number}of{shard.count}") as own:
        if not _locked(own, exclusive=True):
            raise UserError(f"{store.address}: shard {shard} is being drawn by another process; {WAIT_FOR_IT}")
        alone = _locked(everybody, exclusive=True)
        if alone:
            _write(everybody, str(shard.count))
        else:
            _join(store, shard, everybody)
        prepare(alone)
        if alone:
            _locked(everybody, exclusive=False)
        # where others are still at work the shared lock is lost with the try, so that the last one finds none
        yield lambda: _locked(everybody, exclusive=True)


@contextmanager
def hold(folder: Path) -> Iterator[None]:
    """Hold a whole folder.

    Errors: UserError when another process holds it.
    """
    with _opened(folder) as descriptor:
        if not _locked(descriptor, exclusive=True):
            raise UserError(f"{folder}: another process is drawing into it; {WAIT_FOR_IT}")
        yield


def _join(store: Store, shard: Shard, everybody: int) -> None:
    """Wait until the first worker has prepared the folder, and see that it has the same split."""
    until = time.monotonic() + PATIENCE
    while not _locked(everybody, exclusive=False):
        if time.monotonic() > until:
            raise UserError(f"{store.address}: another process holds this folder; {WAIT_FOR_IT}")
        time.sleep(0.05)
    count = os.pread(everybody, 32, 0).decode()
    if count != str(shard.count):
        remedy = f"{WAIT_FOR_IT}, or draw a shard K/{count}"
        raise UserError(f"{store.address}: a run split into {count} is at work here, not {shard.count}; {remedy}")


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR | os.O_CREAT, 0o644)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _can_lock(folder: Path) -> bool:
    with _opened(folder) as descriptor:
        try:
            _locked(descriptor, exclusive=False)
        except OSError:
            return False
    return True


def _write(descriptor: int, text: str) -> None:
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, text.encode(), 0)


def _locked(descriptor: int, exclusive: bool) -> bool:
    """Whether a lock could be had at once."""
    import fcntl  # Unix only, as are the machines that sets are drawn on

    try:
        fcntl.flock(descriptor, (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
