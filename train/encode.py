"""Cache the moments of every image: accelerate launch train/encode.py configs/encode_256.yaml [key=value ...]

Every process takes its share of the images that are not yet done; a killed run loses at most its last batch.
"""

from __future__ import annotations

import sys

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from gen import seeds
from gen.config import load_job
from gen.data.augment import VERSION, augment, content_box
from gen.data.dataset import CXRDataset
from gen.data.index import read_index
from gen.data.linked import Needs
from gen.data.moments import MomentsStore, fingerprint
from gen.data.quarantine import Quarantine
from gen.engine.processes import processes
from gen.errors import UserError, exit_on_user_error
from gen.models.codec import LatentCodec
from gen.models.loading import load_codec, weights_hash
from gen.schema import EncodeJob


def open_store(job: EncodeJob, codec: LatentCodec, datasets: list[CXRDataset]) -> MomentsStore:
    """The store of this codec, these images and this augmentation."""
    side = job.data.resolution // codec.downsample_factor
    shape = (job.variants, 2 * codec.config.latent_channels, side, side)
    keys = [key for dataset in datasets for key in dataset.keys]
    changes = [VERSION] if job.variants > 1 else []
    mark = fingerprint(weights_hash(job.codec), keys, shape, job.seed, *changes)
    return MomentsStore.create(job.out, keys, shape, mark, codec.signature().tolist())


def variants(image: torch.Tensor, first: torch.Tensor, row: int, job: EncodeJob) -> torch.Tensor:
    """The plain image and its augmented versions, within the frame of the row's first image.

    Shapes: [1, H, W] -> [K, 1, H, W].
    """
    frame = content_box(first)
    changed = [augment(image, seeds.generator(job.seed, row, number), frame) for number in range(1, job.variants)]
    return torch.stack([image, *changed])


@torch.no_grad()
def encode_images(
    job: EncodeJob, codec: LatentCodec, datasets: list[CXRDataset], store: MomentsStore, places: list[int]
) -> int:
    """Encode and store images by their place in the store; returns how many were unreadable and left out.

    All images of one row are augmented alike, so that pairs stay pairs.
    """
    count = len(datasets[0])
    quarantine = Quarantine(job.out / "unreadable.csv", job.data.max_bad_share, count * len(datasets))
    bad = 0
    for place in tqdm(places, desc="encode", unit="image", disable=not processes().is_main_process):
        dataset, row = datasets[place // count], place % count
        try:
            image = dataset.image(row)
            first = image if dataset is datasets[0] or job.variants == 1 else datasets[0].image(row)
            images = variants(image, first, row, job).to(codec.device)
        except UserError as error:
            quarantine.add(store.meta["keys"][place], str(error))
            bad += 1
            continue
        moments = [codec.moments(part).float().cpu() for part in images.split(job.batch_size)]
        store.write(place, torch.cat(moments).numpy().astype(np.float16))
    return bad


def datasets_of(job: EncodeJob, rows: pd.DataFrame) -> list[CXRDataset]:
    """The images of every column that is to be encoded. Errors: UserError where a row has none."""
    for column in job.columns:
        if column not in rows or (rows[column].fillna("") == "").any():
            raise UserError(f"{job.data.index}: not every row has an image in column {column!r}; correct columns=")
    return [CXRDataset(rows, job.data.resolution, needs=Needs(target=column)) for column in job.columns]


def main(arguments: list[str]) -> None:
    """Fill the store that a config describes."""
    job = load_job(EncodeJob, "encode.py", arguments)
    state = processes()
    rows: pd.DataFrame = read_index(job.data.index)
    rows = rows[rows["may_ship"].astype(bool)] if job.data.may_ship_only else rows
    codec = load_codec(job.codec).to(state.device).eval()
    datasets = datasets_of(job, rows)
    with state.main_process_first():
        store = open_store(job, codec, datasets)
    pending = store.pending()
    state.wait_for_everyone()  # before any row is written: every process must divide the same list
    bad = encode_images(job, codec, datasets, store, pending[state.process_index :: state.num_processes])
    state.wait_for_everyone()
    total = len(store.done)
    state.print(f"{total - len(store.pending())} of {total} images in {job.out}")
    if bad:
        print(f"{bad} images could not be read; {job.out / 'unreadable.csv'} says why", flush=True)


if __name__ == "__main__":
    with exit_on_user_error():
        main(sys.argv[1:])
