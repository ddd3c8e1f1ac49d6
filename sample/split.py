"""The static split: an image's id and a worker's number decide who draws it, and nobody has to ask anybody."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass

from gen.errors import UserError


@dataclass(frozen=True)
class Shard:
    """Worker `number` of `count`, from 1."""

    number: int = 1
    count: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.number <= self.count:
            raise UserError(f"--shard {self}: the first number goes from 1 to the second")

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    def has(self, id_: str) -> bool:
        """Whether this worker draws an image; the same answer on every machine."""
        return self.count == 1 or image_number(id_) % self.count == self.number - 1

    def part(self, number: int, count: int) -> Shard:
        """Share `number` of `count` of this shard, which several processes draw together; from 1."""
        return Shard((self.number - 1) + (number - 1) * self.count + 1, self.count * count)


def image_number(id_: str) -> int:
    """32 bits of an image's id."""
    return int.from_bytes(hashlib.blake2b(id_.encode(), digest_size=4).digest(), "little")


def parse_shard(text: str) -> Shard:
    """A shard as it is written: 3/64.

    Errors: UserError for anything else.
    """
    number, slash, count = text.partition("/")
    if not (slash and number.isdecimal() and count.isdecimal()):
        raise UserError(f"--shard {text}: write it as K/N, from 1/N to N/N, for example 3/64")
    return Shard(int(number), int(count))


def among_processes(shard: Shard) -> Shard:
    """This process' share of a shard under `accelerate launch`, which tells each its rank in the environment."""
    rank, world = (int(os.environ.get(name, default)) for name, default in (("RANK", "0"), ("WORLD_SIZE", "1")))
    return shard.part(rank + 1, world)
