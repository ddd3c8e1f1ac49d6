"""Radiographs that cannot be read: written down with their reason, and the run goes on until there are too many."""

from __future__ import annotations

import csv
import io
import os
from pathlib import Path

from gen.data.tables import parsing
from gen.errors import UserError
from gen.files import cell_text, plain_cell


class Quarantine:
    """A table of names and reasons that several processes may add to; each name stands there once."""

    def __init__(self, path: Path, share: float, total: int) -> None:
        self.path, self.limit, self.total = path, int(share * total), total

    def names(self) -> set[str]:
        """What is in quarantine so far, whoever put it there."""
        if not self.path.is_file():
            return set()
        with parsing(self.path, "list of unreadable images", "remove it"), open(self.path, newline="") as file:
            return {cell_text(row["image"]) for row in csv.DictReader(file)}

    def add(self, name: str, reason: str) -> None:
        """Put one image aside.

        Errors: UserError when more are aside than the configured share allows.
        """
        names = self.names()
        if name in names:
            return
        self._append([name, reason])
        if len(names) + 1 > self.limit:
            raise UserError(
                f"{reason} ({len(names) + 1} of {self.total} images unreadable, data.max_bad_share allows "
                f"{self.limit}; {self.path} lists them: mend or remove them)"
            )

    def _append(self, row: list[str]) -> None:
        if not self.path.is_file():
            self._begin()
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerow([plain_cell(text) for text in row])
        # one write at the end of the file: lines of several processes do not mix
        descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND)
        try:
            os.write(descriptor, text.getvalue().encode())
        finally:
            os.close(descriptor)

    def _begin(self) -> None:
        """Make the table with its heading, unless another process is quicker."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        heading = self.path.with_name(f".{self.path.name}.{os.getpid()}.tmp")
        heading.write_text("image,reason\n")
        try:
            os.link(heading, self.path)
        except FileExistsError:
            pass
        except OSError:  # a file system without links
            os.replace(heading, self.path)
        finally:
            heading.unlink(missing_ok=True)
