"""Images that go with an image: a prior radiograph, other views of its study, the soft-tissue image of a pair.

An index names them in columns of addresses (several in one cell are joined by SEPARATOR). In a batch they stand under
`link_COLUMN`, always as many as the task can take, with `link_COLUMN_mask` telling which are there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import pandas as pd
import torch
from torch import Tensor

from gen.data.moments import image_key, image_keys

SEPARATOR = "|"


@dataclass(frozen=True)
class Needs:
    """What a task reads of an index row besides its prompt: columns, linked images, and the image it draws.

    `links` gives the most images of each column of addresses, `target` the column of the image to be drawn.
    """

    columns: tuple[str, ...] = ()
    links: Mapping[str, int] = field(default_factory=dict)
    target: str = "image"


@dataclass(frozen=True)
class Linked:
    """One linked image: where it is, its name in a moments store, whether it is stored with dark bone."""

    address: str
    key: str
    inverted: bool


def column_key(record: Mapping, column: str) -> str:
    """Name of the image in a column of a row; two files of one name in a row stay apart."""
    return image_key(record) if column == "image" else f"{image_key(record)}#{column}"


class Directory:
    """Looks up images by address among all rows of a split, for what one row says of another."""

    def __init__(self, rows: pd.DataFrame) -> None:
        inverted = rows["inverted"].astype(bool) if "inverted" in rows else [False] * len(rows)
        self.known = dict(zip(rows["image"], zip(image_keys(rows), inverted, strict=True), strict=True))

    def find(self, record: Mapping, column: str) -> list[Linked]:
        """The images of a column of a row, none where it is empty."""
        own = (column_key(record, column), bool(record.get("inverted", False)))
        said = record.get(column)
        addresses = [address for address in said.split(SEPARATOR) if address] if isinstance(said, str) else []
        if column == "image":
            return [Linked(record["image"], *own)]
        return [Linked(address, *self.known.get(address, own)) for address in addresses]


def padded(name: str, images: list[Tensor], most: int, like: Tensor) -> dict[str, Tensor]:
    """Linked images of a sample as the batch holds them. Shapes: M of [...] -> [most, ...], mask [most]."""
    stacked = torch.zeros((most, *like.shape), dtype=like.dtype)
    for number, image in enumerate(images[:most]):
        stacked[number] = image
    return {f"link_{name}": stacked, f"link_{name}_mask": torch.arange(most) < len(images)}
