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
from gen.data.augment import augment
from gen.data.dataset import CXRDataset
from gen.data.index import read_index
from gen.data.moments import MomentsStore, fingerprint, image_key
from gen.data.quarantine import Quarantine
from gen.engine.processes import processes
from gen.errors import UserError, exit_on_user_error
from gen.models.codec import LatentCodec
from gen.models.loading import load_codec, weights_hash
from gen.schema import EncodeJob


def open_store(job: EncodeJob, codec: LatentCodec, dataset: CXRDataset) -> MomentsStore:
    """The store of this codec, these images and this augmentation."""
    side = job.data.resolution // codec.downsample_factor
    shape = (job.variants, 2 * codec.config.latent_channels, side, side)
    mark = fingerprint(weights_hash(job.codec), dataset.keys, shape, job.seed)
    return MomentsStore.create(job.out, dataset.keys, shape, mark, codec.signature().tolist())


def variants(image: torch.Tensor, row: int, job: EncodeJob) -> torch.Tensor:
    """The plain image and its augmented versions. Shapes: [1, H, W] -> [K, 1, H, W]."""
    changed = [augment(image, seeds.generator(job.seed, row, number)) for number in range(1, job.variants)]
    return torch.stack([image, *changed])


@torch.no_grad()
def encode_rows(job: EncodeJob, codec: LatentCodec, dataset: CXRDataset, store: MomentsStore, rows: list[int]) -> int:
    """Encode and store rows; returns how many images were unreadable and left out."""
    quarantine = Quarantine(job.out / "unreadable.csv", job.data.max_bad_share, len(dataset))
    bad = 0
    for row in tqdm(rows, desc="encode", unit="image", disable=not processes().is_main_process):
        try:
            images = variants(dataset.image(row), row, job).to(codec.device)
        except UserError as error:
            quarantine.add(image_key(dataset.records[row]), str(error))
            bad += 1
            continue
        moments = [codec.moments(part).float().cpu() for part in images.split(job.batch_size)]
        store.write(row, torch.cat(moments).numpy().astype(np.float16))
    return bad


def main(arguments: list[str]) -> None:
    """Fill the store that a config describes."""
    job = load_job(EncodeJob, "encode.py", arguments)
    state = processes()
    rows: pd.DataFrame = read_index(job.data.index)
    rows = rows[rows["may_ship"].astype(bool)] if job.data.may_ship_only else rows
    codec = load_codec(job.codec).to(state.device).eval()
    dataset = CXRDataset(rows, job.data.resolution)
    with state.main_process_first():
        store = open_store(job, codec, dataset)
    pending = store.pending()
    state.wait_for_everyone()  # before any row is written: every process must divide the same list
    bad = encode_rows(job, codec, dataset, store, pending[state.process_index :: state.num_processes])
    state.wait_for_everyone()
    state.print(f"{len(dataset) - len(store.pending())} of {len(dataset)} images in {job.out}")
    if bad:
        print(f"{bad} images could not be read; {job.out / 'unreadable.csv'} says why", flush=True)


if __name__ == "__main__":
    with exit_on_user_error():
        main(sys.argv[1:])
