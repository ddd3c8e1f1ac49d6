"""What a job gives to the loop."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

from torch import Tensor, nn

from gen.data.dataset import CXRDataset, make_dataset, make_loader
from gen.data.linked import Needs
from gen.data.moments import fingerprint
from gen.models.codec import LatentCodec
from gen.schema import DataConfig, TrainConfig


class Learner(nn.Module):
    """What a job gives to the loop: `trained` modules and a loss. Jobs subclass it in train/."""

    trained: nn.ModuleDict

    def forward(self, batch: dict) -> dict[str, Tensor]:
        """Losses by name; the loop minimises the sum of those whose name does not begin with `_`."""
        raise NotImplementedError

    def batches(self, rank: int, world: int, start: int) -> Iterator[dict]:
        """Endless batches for one rank from micro-batch number `start` onwards."""
        raise NotImplementedError

    def shards(self) -> Sequence[nn.Module]:
        """Modules whose weights may lie in parts over the ranks, as they are called by their forward alone."""
        return ()

    def stepped(self) -> None:
        """Called after every optimizer step."""

    def data_fingerprint(self) -> str:
        """What tells these training images from others; empty where there are none."""
        return ""

    def validate(self, trained: nn.ModuleDict, folder: Path) -> dict[str, float]:
        """Figures on held-out data; pictures go into `folder`. Main process only."""
        return {}

    @property
    def may_end_early(self) -> bool:
        """Whether `overdone` is ever true, so that weights are worth keeping at each validation."""
        return False

    def overdone(self, figures: dict[str, float]) -> str:
        """Why training should have ended before these figures, or nothing."""
        return ""

    def export(self, trained: nn.ModuleDict, folder: Path) -> None:
        """Write the averaged modules as a folder that people can load."""
        raise NotImplementedError


class DatasetJob(Protocol):
    """A job that trains on the images of an index."""

    @property
    def run(self) -> Path: ...

    @property
    def data(self) -> DataConfig: ...

    @property
    def train(self) -> TrainConfig: ...


def coded_datasets(job: DatasetJob, codec: LatentCodec, needs: Needs, rows: Callable) -> tuple[CXRDataset, CXRDataset]:
    """Training and validation images, whose cached moments are of this codec.

    Errors: UserError for moments of another.
    """
    train, val = (make_dataset(job.data, split, job.train.seed, job.run, needs, rows) for split in ("train", "val"))
    for dataset in (train, val):
        if dataset.store is not None:
            dataset.store.check_codec(codec.signature().tolist())
    return train, val


class DatasetLearner(Learner):
    """A learner on the images of an index, as its job's `data` and `train` say."""

    job: DatasetJob
    dataset: CXRDataset

    def batches(self, rank: int, world: int, start: int) -> Iterator[dict]:
        """Endless training batches of one rank."""
        train = self.job.train
        return iter(make_loader(self.dataset, train.batch_size, train.seed, rank, world, start, self.job.data.workers))

    def data_fingerprint(self) -> str:
        """Of the names of the training images, in their order."""
        return fingerprint(self.dataset.keys)
