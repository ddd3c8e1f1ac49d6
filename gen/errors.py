"""Errors that a user can mend, and how every command of the suite ends on one."""

from __future__ import annotations

import errno
import sys
from collections.abc import Iterator
from contextlib import contextmanager

EXIT_CODE = 2
DISK_FULL = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)}


class UserError(ValueError):
    """A problem with what the user gave: one line that names the file, row or field, and the remedy."""


@contextmanager
def exit_on_user_error() -> Iterator[None]:
    """End the process with one line on stderr and code 2 on a UserError or a full disk.

    Anything else is a fault of ours and keeps its traceback.
    """
    try:
        yield
    except Exception as error:
        line = _one_line(error)
        if line is None:
            raise
        print(f"error: {line}", file=sys.stderr, flush=True)
        raise SystemExit(EXIT_CODE) from None


def disk_is_full(error: BaseException) -> bool:
    """Whether an error of any library says that a disk or a quota is full."""
    # safetensors, pyarrow and torch raise types of their own and keep only the system's words
    return getattr(error, "errno", None) in DISK_FULL or "No space left on device" in str(error)


def _one_line(error: Exception) -> str | None:
    if isinstance(error, UserError):
        return " ".join(str(error).split())
    if disk_is_full(error):
        name = getattr(error, "filename", None) or "a file"
        return f"disk full while writing {name}; free some space and run the same command again"
    return None
