"""Rows of an index as training samples, and the order in which they come."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
import pandas as pd
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from gen import seeds
from gen.data.augment import augment
from gen.data.images import prepare
from gen.data.index import read_index
from gen.data.linked import Directory, Linked, Needs, column_key, padded
from gen.data.moments import MomentsStore, MomentsStores, image_key, image_keys
from gen.data.prompts import prompt_from_row
from gen.data.quarantine import Quarantine
from gen.data.records import Records
from gen.errors import UserError
from gen.schema import DataConfig

T = TypeVar("T")
CONDITION_COLUMNS = ("view", "sex", "age", "findings")


class CXRDataset(Dataset):
    """Radiographs (or their cached moments) with prompt and attributes.

    Indexed by (row, position): the position in the run seeds the sample's prompt wording and augmentation, so
    that samples do not depend on workers or on a restart. Items: `image` [1, H, W] in [-1, 1] or `moments`
    [2C, h, w], `prompt`, `view`, `sex`, `age`, `findings`, `key`, and what `needs` names (gen.data.linked). `among`
    are the rows in which linked images are looked up. With a quarantine, an image that cannot be read is put there and
    the next row stands in for it, in a resumed run as in the first.
    """

    def __init__(
        self,
        rows: pd.DataFrame,
        resolution: int,
        moments: Path | Sequence[Path] | None = None,
        seed: int = 0,
        quarantine: Quarantine | None = None,
        needs: Needs | None = None,
        among: pd.DataFrame | None = None,
    ) -> None:
        self.resolution = resolution
        self.seed = seed
        self.quarantine = quarantine
        self.needs = Needs() if needs is None else needs
        self.directory = Directory(rows if among is None else among) if self.needs.links else None
        several = isinstance(moments, Sequence) and not isinstance(moments, str)
        self.store = (MomentsStores(moments) if several else MomentsStore(Path(moments))) if moments else None
        self.records = Records(rows if self.store is None else self._stored(rows, self.store))

    def _stored(self, rows: pd.DataFrame, store: MomentsStore | MomentsStores) -> pd.DataFrame:
        """The rows with moments; the others go into quarantine, or all must have them where there is none."""
        if self.directory:
            wanted = [self._wanted(record) for record in rows.to_dict("records")]
        else:
            wanted = [[self._named(key)] for key in image_keys(rows)]
        every = [key for keys in wanted for key in keys]
        if self.quarantine is None:
            store.check_holds(every)
        missing = set(store.missing(every))
        for key in sorted(missing):
            self.quarantine.add(key, f"{store.folder}: no moments of {key}; run train/encode.py again")
        return rows[[missing.isdisjoint(keys) for keys in wanted]]

    def _wanted(self, record: dict) -> list[str]:
        """Names of all images that a sample of this row holds."""
        links = [linked.key for name in self.needs.links for linked in self.directory.find(record, name)]
        return [column_key(record, self.needs.target), *links]

    def _named(self, key: str) -> str:
        return key if self.needs.target == "image" else f"{key}#{self.needs.target}"

    @property
    def keys(self) -> list[str]:
        """Names of all images, in the order of the rows."""
        return [self._named(key) for key in image_keys(self.records.columns)]

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: tuple[int, int]) -> dict:
        row, position = index
        return self._readable(row, lambda row: self._sample(row, position))

    def image(self, row: int) -> torch.Tensor:
        """Pixels of one row. Shapes: -> [1, H, W] in [-1, 1]."""
        return self._readable(row, self._pixels)

    def _readable(self, row: int, read: Callable[[int], T]) -> T:
        """Read a row or, where it cannot be read and there is a quarantine, the next one that can."""
        while True:
            try:
                return read(row)
            except UserError as error:
                if self.quarantine is None:
                    raise
                self.quarantine.add(image_key(self.records[row]), str(error))
                row = (row + 1) % len(self)

    def _sample(self, row: int, position: int) -> dict:
        rng = random.Random(seeds.mix(self.seed, "sample", position))
        record = self.records[row]
        sample = {name: record.get(name, "") for name in (*CONDITION_COLUMNS, *self.needs.columns)}
        target = self._target(record)
        sample |= {"key": target.key, "prompt": prompt_from_row(record, rng)}
        variant = rng.randrange(self.store.variants) if self.store else 0  # one for all images of a sample
        kind = "moments" if self.store else "image"
        sample[kind] = self._tensor(target, variant)
        for name, most in self.needs.links.items():
            found = self.directory.find(record, name)[:most]
            itself = name != "image" and any(linked.key == sample["key"] for linked in found)
            images = [self._moved(found[0], rng)] if itself else [self._tensor(linked, variant) for linked in found]
            sample |= padded(name, images, most, sample[kind])
        return sample

    def _target(self, record: dict) -> Linked:
        column = self.needs.target
        return Linked(record[column], column_key(record, column), bool(record.get("inverted", False)))

    def _tensor(self, linked: Linked, variant: int) -> torch.Tensor:
        if self.store:
            return torch.from_numpy(self.store[linked.key, variant])
        return torch.from_numpy(prepare(linked.address, self.resolution, inverted=linked.inverted))[None]

    def _moved(self, linked: Linked, rng: random.Random) -> torch.Tensor:
        """An image as its own prior: another variant of it, or the image moved a little, for nothing happened."""
        if self.store:
            return self._tensor(linked, rng.randrange(self.store.variants))
        return augment(self._tensor(linked, 0), torch.Generator().manual_seed(rng.randrange(2**31)))

    def _pixels(self, row: int) -> torch.Tensor:
        target = self._target(self.records[row])
        return torch.from_numpy(prepare(target.address, self.resolution, inverted=target.inverted))[None]


class StepBatches(Sampler[list[tuple[int, int]]]):
    """Endless batches of (row, position) for one rank, from any batch onwards, in O(1).

    Epoch e is a permutation seeded by (seed, e); position p is entry p mod N of permutation p div N. Rank r of W
    takes positions r, r + W, r + 2W ...: no overlap, no loss.
    """

    def __init__(self, length: int, batch_size: int, seed: int, rank: int = 0, world: int = 1, start: int = 0) -> None:
        self.length, self.batch_size, self.seed = length, batch_size, seed
        self.rank, self.world, self.start = rank, world, start
        self._epoch, self._order = -1, np.empty(0, dtype=np.int64)

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        batch = self.start
        while True:
            first = batch * self.batch_size
            positions = [(first + i) * self.world + self.rank for i in range(self.batch_size)]
            yield [(self._row(position), position) for position in positions]
            batch += 1

    def _row(self, position: int) -> int:
        epoch, offset = divmod(position, self.length)
        if epoch != self._epoch:
            self._epoch = epoch
            self._order = np.random.default_rng(seeds.mix(self.seed, "epoch", epoch)).permutation(self.length)
        return int(self._order[offset])


def collate(samples: list[dict]) -> dict:
    """Stack tensors, list everything else."""
    return {
        name: torch.stack([sample[name] for sample in samples])
        if isinstance(samples[0][name], torch.Tensor)
        else [sample[name] for sample in samples]
        for name in samples[0]
    }


def load_rows(config: DataConfig, split: str) -> pd.DataFrame:
    """Index rows of one split, and only those whose licence permits it where the config says so."""
    rows = read_index(config.index, splits=[split])
    if config.may_ship_only:
        if "may_ship" not in rows:
            raise UserError(f"{config.index}: data.may_ship_only needs the column may_ship")
        rows = rows[rows["may_ship"].astype(bool)]
    if rows.empty:
        raise UserError(f"{config.index}: no rows in split {split!r}; see `cxr-index summary`")
    return rows


def repeated(rows: pd.DataFrame, times: Mapping[str, int]) -> pd.DataFrame:
    """The rows, those of each named source so many times: small data sets beside large ones.

    Errors: UserError for a source that is not there.
    """
    if not times:
        return rows
    sources = rows["source"] if "source" in rows else pd.Series("", rows.index)
    for name in times:
        if name not in set(sources):
            raise UserError(f"data.repeat: no rows of source {name!r} (found: {', '.join(sorted(set(sources)))})")
    return rows.loc[rows.index.repeat(sources.map(lambda name: times.get(name, 1)))].reset_index(drop=True)


def make_dataset(
    config: DataConfig,
    split: str,
    seed: int,
    run: Path | None = None,
    needs: Needs | None = None,
    usable: Callable[[pd.DataFrame, DataConfig], pd.DataFrame] | None = None,
) -> CXRDataset:
    """The samples of one split as a config asks for them; a run's folder gets the list of unreadable ones.

    `usable` chooses a task's rows and adds the columns of `needs`. Errors: UserError where it leaves none.
    """
    among = load_rows(config, split)
    rows = among if usable is None else usable(among, config)
    if rows.empty:
        raise UserError(f"{config.index}: no row of split {split!r} has what this task needs; see CONTRIBUTING.md")
    if split == "train":
        rows = repeated(rows, config.repeat)
    quarantine = None if run is None else Quarantine(run / f"unreadable_{split}.csv", config.max_bad_share, len(rows))
    return CXRDataset(rows, config.resolution, config.moments, seed, quarantine, needs, among)


def make_loader(
    dataset: CXRDataset, batch_size: int, seed: int, rank: int = 0, world: int = 1, start: int = 0, workers: int = 0
) -> DataLoader:
    """Endless batches for one rank, beginning with batch number `start`."""
    batches = StepBatches(len(dataset), batch_size, seed, rank, world, start)
    return DataLoader(
        dataset,
        batch_sampler=batches,
        collate_fn=collate,
        num_workers=workers,
        pin_memory=torch.cuda.is_available(),
        persistent_workers=workers > 0,
    )
