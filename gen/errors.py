"""Errors that a user can mend, and how every command of the suite ends on one."""

from __future__ import annotations

import errno
import sys
from collections.abc import Iterator
from contextlib import contextmanager

EXIT_CODE = 2
LONGEST_LINE = 1000  # characters; a cell of a hostile table may have a million
DISK_FULL = {errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)}  # EFBIG: a limit of this process
NOT_WRITABLE = {errno.EROFS, errno.EACCES, errno.EPERM, errno.ENAMETOOLONG}


class UserError(ValueError):
    """A problem with what the user gave: one line that names the file, row or field, and the remedy."""


@contextmanager
def exit_on_user_error() -> Iterator[None]:
    """End the process with one line on stderr and code 2 on a UserError, a full disk or a place that refuses to write.

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


def plain_line(text: str) -> str:
    """A message as one line of bounded length, without signs that would steer a terminal."""
    line = " ".join(text.split())
    if len(line) > LONGEST_LINE:  # the file stands at its beginning, the remedy at its end
        line = f"{line[: LONGEST_LINE - 300]} ... {line[-295:]}"
    return "".join(sign if sign.isprintable() else repr(sign)[1:-1] for sign in line)


def _one_line(error: Exception) -> str | None:
    if isinstance(error, UserError):
        return plain_line(str(error))
    if disk_is_full(error):
        name = getattr(error, "filename", None) or "a file"
        return f"disk full while writing {name}; free some space and run the same command again"
    if isinstance(error, OSError) and (error.errno in NOT_WRITABLE or "Read-only file system" in str(error)):
        name = error.filename or "a file"
        return plain_line(f"{name}: {error.strerror or error}; give another place, or the right to write there")
    return None
