"""Promised figures of the data path, measured on the machine at hand: the second half of `make bench`.

Files, an index of a million rows and a moments store are made up in a temporary folder.
"""

from __future__ import annotations

import multiprocessing
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from bench import Row, interleaved, report
from PIL import Image
from torchvision.io import ImageReadMode, decode_image
from torchvision.transforms.v2.functional import resize

from gen.data.dataset import CXRDataset, StepBatches, collate, make_dataset
from gen.data.images import prepare
from gen.data.moments import MomentsStore, image_keys
from gen.schema import DataConfig

ROWS, IMAGES, SIDE = 1_000_000, 2000, 256
MOMENTS = (1, 64, 16, 16)  # of the shipped codec
SIZES = {"jpg": (512, 420), "png": (1024, 1024), "large jpg": (3056, 2544)}  # of ours, NIH's and MIMIC-CXR-JPG's kind


def million(folder: Path) -> Path:
    """An index of a million rows in MIMIC-CXR's way of naming files."""
    rng = np.random.default_rng(0)
    patients = rng.integers(0, ROWS // 4, ROWS)
    names = [
        f"files/p{p % 100:02}/p{p:08}/s{row:08}/{row * 2654435761 % 2**32:08x}.jpg" for row, p in enumerate(patients)
    ]
    table = pd.DataFrame({"image": names, "patient_id": patients.astype(str), "study_id": np.arange(ROWS).astype(str)})
    table["view"] = rng.choice(["PA", "AP", "LATERAL"], ROWS)
    table["findings"] = rng.choice(["No Finding", "Pleural Effusion", "Cardiomegaly;Edema"], ROWS)
    table["sex"], table["age"] = rng.choice(["M", "F"], ROWS), rng.integers(18, 90, ROWS).astype(float)
    table["split"], table["source"] = np.where(patients % 10 == 0, "val", "train"), "made_up"
    table.to_parquet(folder / "million.parquet")
    return folder / "million.parquet"


def first_batch(index: Path, answer) -> None:
    """In a process of its own: seconds to the first shuffled batch of frontal effusions, and the memory they hold."""
    before = resident()
    began = time.perf_counter()
    dataset = make_dataset(DataConfig(index=index, resolution=SIDE), "train", 0)
    batches = iter(StepBatches(len(dataset), 64, 0))
    chosen = [dataset.records[row] for row, _ in next(batches)]
    answer.put((time.perf_counter() - began, (resident() - before) / 1e9, len(chosen)))


def resident() -> int:
    """Bytes of memory that this process holds."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def index_of_a_million() -> Iterator[Row]:
    """Reading, checking and shuffling a million rows."""
    with tempfile.TemporaryDirectory() as folder:
        index = million(Path(folder))
        context = multiprocessing.get_context("spawn")
        answer = context.Queue()
        process = context.Process(target=first_batch, args=(index, answer))
        process.start()
        seconds, memory, _ = answer.get()
        process.join()
    yield "1 M rows: seconds to the first batch", seconds, 5.0
    yield "1 M rows: GB that the data set holds", memory, 1.0


def store_of_moments(folder: Path) -> CXRDataset:
    """A data set whose moments are cached."""
    rows = pd.DataFrame({"image": [f"{row}.png" for row in range(IMAGES)], "patient_id": "p", "study_id": "s"})
    rows["source"], rows["view"], rows["sex"], rows["age"], rows["findings"] = (
        "made_up",
        "PA",
        "F",
        50.0,
        "Cardiomegaly",
    )
    keys = image_keys(rows)
    store = MomentsStore.create(folder / "store", keys, MOMENTS, "mark", [0.0])
    store.moments[:] = np.random.default_rng(0).normal(size=(256, *MOMENTS)).astype(np.float16)[np.arange(IMAGES) % 256]
    store.done[:] = 1
    return CXRDataset(rows, SIDE, folder / "store")


def read_cached(dataset: CXRDataset, batches: int, start, answer) -> None:
    """One core's share of a data loader's work, without sending the samples anywhere."""
    torch.set_num_threads(1)
    order = iter(StepBatches(len(dataset), 64, 0))
    for _ in range(20):
        collate([dataset[index] for index in next(order)])
    start.wait()
    began = time.perf_counter()
    for _ in range(batches):
        collate([dataset[index] for index in next(order)])
    answer.put(batches * 64 / (time.perf_counter() - began))


def cached_samples() -> Iterator[Row]:
    """Samples a second, moments and prompt, of two processes at once; the limit is on their inverse."""
    with tempfile.TemporaryDirectory() as folder:
        dataset = store_of_moments(Path(folder))
        context = multiprocessing.get_context("fork")
        start, answer = context.Barrier(2), context.Queue()
        workers = [context.Process(target=read_cached, args=(dataset, 300, start, answer)) for _ in range(2)]
        for worker in workers:
            worker.start()
        rate = sum(answer.get() for _ in workers)
    print(f"cached samples a second on two cores: {rate:,.0f}", flush=True)
    yield "cached: seconds for 20,000 samples", 20_000 / rate, 1.0


def decoding() -> Iterator[Row]:
    """File to model input against Pillow alone and torchvision alone."""
    rng = np.random.default_rng(0)
    smooth = Image.fromarray(rng.integers(0, 255, (64, 64), np.uint8))
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        for name, size in SIZES.items():
            path = Path(folder) / f"{name}.{name[-3:]}"
            smooth.resize(size, Image.Resampling.BICUBIC).save(path, quality=90)
            for peer, read in (("Pillow", with_pillow), ("torchvision", with_torchvision)):
                yield (
                    f"{name} {size[0]}: ours / {peer}",
                    interleaved(repeated(prepare, path), repeated(read, path)),
                    1.0,
                )


def repeated(read: Callable, path: Path) -> Callable[[], None]:
    """Twenty readings of a file, as one piece of work."""

    def work() -> None:
        for _ in range(20):
            read(path, SIDE)

    return work


def with_pillow(path: Path, size: int) -> np.ndarray:
    """Decode and resample by Pillow."""
    pixels = Image.open(path).convert("L").resize((size, size), Image.Resampling.LANCZOS)
    return np.asarray(pixels, dtype=np.float32) / 127.5 - 1


def with_torchvision(path: Path, size: int) -> torch.Tensor:
    """Decode and resample by torchvision (whose decoders are deprecated)."""
    return resize(decode_image(str(path), ImageReadMode.GRAY), [size, size], antialias=True).float() / 127.5 - 1


if __name__ == "__main__":
    sys.exit(report((decoding, cached_samples, index_of_a_million), "bench_data.json"))
