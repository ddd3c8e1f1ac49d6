"""From conditions to a plan file, and what it will cost."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from gen import seeds
from gen.data.index import read_index
from gen.data.summary import aligned_right
from gen.files import forget_abandoned, replacing

from .balance import Origins, copied, equal_sexes, filled_up
from .conditions import Condition, Wording
from .plan import CHUNK, SCHEMA
from .targets import read_target, target_conditions

BANDS = {"0-17": (0, 18), "18-39": (18, 40), "40-59": (40, 60), "60-79": (60, 80), "80 and over": (80, 1000)}
# bytes a pixel, measured on radiographs of the shipped model at 256 px (LOG.md, 2026-11-24)
BYTES_PER_PIXEL = {"png": 0.39, "png16": 1.58, "dicom": 1.02, "webdataset": 0.43, "parquet": 0.4}


@dataclass(frozen=True)
class Recipe:
    """Where a plan's conditions come from; all that is given adds up."""

    target: Path | None = None
    index: Path | None = None
    each: int | None = None
    equal_sexes: bool = False
    copies: int = 0
    rare_copies: int = 0
    rare_below: float = 0.05
    wording: Wording = "templates"
    seed: int = 0


def conditions(recipe: Recipe) -> list[Condition]:
    """All conditions of a recipe in a random order, so that the first thousand are like the whole.

    Errors: UserError as of reading a target file and an index.
    """
    rng = random.Random(seeds.mix(recipe.seed, "plan"))
    found = [] if recipe.target is None else list(target_conditions(read_target(recipe.target), rng))
    if recipe.index is not None:
        origins = Origins(read_index(recipe.index, splits=["train"]), str(recipe.index))
        found += copied(origins, recipe.copies, recipe.rare_copies, recipe.rare_below)
        found += [] if recipe.each is None else filled_up(origins, recipe.each, rng)
        found += equal_sexes(origins, list(found), rng) if recipe.equal_sexes else []
    rng.shuffle(found)
    return found


def write_plan(found: Sequence[Condition], recipe: Recipe, path: Path) -> None:
    """Give every condition an id, a seed and a prompt that depend on its number alone, and write the table."""
    from tqdm import tqdm

    forget_abandoned(path)
    with (
        replacing(path) as temporary,
        pq.ParquetWriter(temporary, SCHEMA, compression="zstd") as writer,
        tqdm(total=len(found), unit="row", unit_scale=True, delay=1) as bar,
    ):
        for rows in _chunks(found, recipe):
            writer.write_table(pa.Table.from_pylist(rows, schema=SCHEMA))
            bar.update(len(rows))


def _chunks(found: Sequence[Condition], recipe: Recipe) -> Iterator[list[dict]]:
    for start in range(0, len(found), CHUNK):
        chunk = enumerate(found[start : start + CHUNK], start=start)
        yield [_row(number, condition, recipe) for number, condition in chunk]


def _row(number: int, condition: Condition, recipe: Recipe) -> dict:
    rng = random.Random(seeds.mix(recipe.seed, "words", number))
    return {
        "id": f"{number:08d}",
        "prompt": condition.words(recipe.wording, rng),
        "view": condition.view,
        "sex": condition.sex,
        "age": condition.age,
        "findings": condition.findings,
        "seed": seeds.mix(recipe.seed, "image", number),
        "source": condition.origin(recipe.wording),
    }


def counted(found: Sequence[Condition]) -> str:
    """A table for people: how many images of each label, view, sex and age band."""
    groups = {
        "findings": Counter(label for one in found for label in (one.findings or "(not said)").split(";")),
        "view": Counter(one.view or "(not said)" for one in found),
        "sex": Counter(one.sex or "(not said)" for one in found),
        "age": Counter(band_of(one.age) for one in found),
    }
    lines = [["images", "", str(len(found))]]
    for group, counts in groups.items():
        ordered = sorted(counts) if group == "age" else [name for name, _ in counts.most_common()]
        lines += [[group if not number else "", name, str(counts[name])] for number, name in enumerate(ordered)]
    widest = max(len(line[1]) for line in lines)
    return aligned_right([[f"{line[0]:10}{line[1]:{widest}}", line[2]] for line in lines])


def band_of(age: float | None) -> str:
    """The age band of an age in years."""
    if age is None:
        return "(not said)"
    return next(name for name, (first, end) in BANDS.items() if first <= age < end)


@dataclass(frozen=True)
class Speed:
    """What an image costs, and how that is known."""

    images_per_second: float | None
    bytes_each: float
    how: str


def estimated(images: int, speed: Speed) -> str:
    """A line on time and disk."""
    disk = images * speed.bytes_each / 2**30
    if speed.images_per_second is None:
        return f"disk about {disk:.2f} GiB ({speed.how}); time: add --measure, or --images-per-second"
    hours = images / speed.images_per_second / 3600
    rate = f"{speed.images_per_second:.3g} images/s a process"
    return f"time about {hours:.2f} h for one process at {rate}, disk about {disk:.2f} GiB ({speed.how})"
