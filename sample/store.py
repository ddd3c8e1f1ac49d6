"""Where a set is written: a folder of this machine, or an address of an object store by fsspec."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from gen.errors import UserError, disk_is_full
from gen.files import replacing

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

TEMPORARY = re.compile(r"\..+\.\d+\.tmp")  # names that gen.files.replacing writes under
OURS = ("images", "data", "rejects", "manifest")  # folders of a set


class Store(Protocol):
    """Files by names with "/" between folders; a file is there complete or not at all."""

    address: str

    def write(self, name: str, data: bytes) -> None: ...

    def append(self, name: str, text: str) -> None: ...

    def read(self, name: str) -> bytes: ...

    def sizes(self, folder: str) -> dict[str, int]:
        """Bytes of every file below a folder, by name; temporary names do not count."""
        ...

    def delete(self, name: str) -> None: ...

    def leftovers(self) -> list[str]:
        """Temporary files that a killed process left behind."""
        ...


class Folder:
    """A folder of this machine."""

    def __init__(self, path: Path) -> None:
        self.path, self.address = path, str(path)

    def make(self) -> None:
        """Make the folder, or say why it cannot be."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            if disk_is_full(error):
                raise
            raise UserError(f"--out {self.path}: cannot be a folder ({error.strerror}); give another") from None
        if not os.access(self.path, os.W_OK):
            raise UserError(f"--out {self.path}: cannot be written to; give another, or mend its rights")

    def _place(self, name: str) -> Path:
        """Where a file lies; a manifest of unknown hands may name anything."""
        if name.startswith("/") or ".." in name.split("/"):
            raise UserError(f"{self.path}: {name[:200]!r} leads out of the set; its manifest is not of this command")
        return self.path / name

    def write(self, name: str, data: bytes) -> None:
        with replacing(self._place(name)) as temporary:
            temporary.write_bytes(data)

    def append(self, name: str, text: str) -> None:
        with self._place(name).open("a", encoding="utf-8") as file:
            file.write(text)

    def read(self, name: str) -> bytes:
        return self._place(name).read_bytes()

    def sizes(self, folder: str) -> dict[str, int]:
        return {entry.path[len(self.address) + 1 :]: entry.stat().st_size for entry in self._files(folder)}

    def delete(self, name: str) -> None:
        self._place(name).unlink(missing_ok=True)

    def leftovers(self) -> list[str]:
        inside = (entry for folder in OURS for entry in _entries(f"{self.address}/{folder}"))
        beside = (entry for entry in os.scandir(self.address) if entry.is_file(follow_symlinks=False))
        names = (entry.path for entry in chain(inside, beside) if TEMPORARY.fullmatch(entry.name))
        return [name[len(self.address) + 1 :] for name in names]

    def _files(self, folder: str) -> Iterator[os.DirEntry]:
        return (entry for entry in _entries(f"{self.address}/{folder}") if not entry.name.startswith("."))


def _entries(folder: str) -> Iterator[os.DirEntry]:
    """Files below a folder; links are not followed."""
    try:
        inside = list(os.scandir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return
    for entry in inside:
        if entry.is_dir(follow_symlinks=False):
            yield from _entries(entry.path)
        elif entry.is_file(follow_symlinks=False):
            yield entry


class Bucket:
    """An address that fsspec knows, such as s3://bucket/set or memory://set; a whole object is put at once."""

    def __init__(self, address: str, system: AbstractFileSystem, root: str) -> None:
        self.address, self.system, self.root = address, system, root.rstrip("/")

    def write(self, name: str, data: bytes) -> None:
        self.system.makedirs(f"{self.root}/{name}".rpartition("/")[0], exist_ok=True)
        self.system.pipe_file(f"{self.root}/{name}", data)

    def append(self, name: str, text: str) -> None:
        there = self.read(name) if self.system.exists(f"{self.root}/{name}") else b""
        self.write(name, there + text.encode())

    def read(self, name: str) -> bytes:
        return self.system.cat_file(f"{self.root}/{name}")

    def sizes(self, folder: str) -> dict[str, int]:
        self.system.invalidate_cache()  # other workers write here too
        found = self.system.find(f"{self.root}/{folder}", detail=True)
        names = {path[len(self.root) :].lstrip("/"): entry["size"] for path, entry in found.items()}
        return {name: size for name, size in names.items() if not name.rpartition("/")[2].startswith(".")}

    def delete(self, name: str) -> None:
        if self.system.exists(f"{self.root}/{name}"):
            self.system.rm_file(f"{self.root}/{name}")

    def leftovers(self) -> list[str]:
        return []


def open_store(address: str | Path) -> Folder | Bucket:
    """The folder or bucket of an address; nothing is made yet.

    Errors: UserError for an address of an unknown kind, or where fsspec is not installed.
    """
    text = str(address)
    if text.startswith("file://"):
        return Folder(Path(text.removeprefix("file://")))
    if "://" not in text:
        return Folder(Path(text))
    try:
        from fsspec.core import url_to_fs
    except ImportError:
        raise UserError(f"{text}: addresses need fsspec; install it with: pip install 'cxr-gen[data]'") from None
    try:
        system, root = url_to_fs(text)
    except (ImportError, ValueError) as error:
        raise UserError(f"{text}: not an address that fsspec can open here ({error})") from None
    return Bucket(text, system, root)
