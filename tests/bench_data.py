"""Promised figures of the data path, measured on the machine at hand: the second half of `make bench`.

Files, an index of a million rows and a moments store are made up in a temporary folder.
"""

from __future__ import annotations

import io
import multiprocessing
import resource
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import gdcm
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pydicom
import torch
from PIL import Image
from torchvision.io import ImageReadMode, decode_image
from torchvision.transforms.v2.functional import resize

from bench import Row, interleaved, report
from gen.data.building import build_index
from gen.data.dataset import CXRDataset, StepBatches, collate, load_rows
from gen.data.dicom_pixels import FASTEST
from gen.data.images import prepare
from gen.data.moments import MomentsStore, image_keys
from gen.phantom.cohort import Plan, prepare_folder, write_patient
from gen.phantom.study import make_study
from gen.schema import DataConfig

ROWS, IMAGES, SIDE = 1_000_000, 2000, 256
MOMENTS = (1, 64, 16, 16)  # of the shipped codec
# pixels of ours, NIH's and MIMIC-CXR-JPG's kind, and grain in grey levels
SIZES = {"jpg": ((512, 420), 0.0), "png": ((1024, 1024), 0.0), "large jpg": ((3056, 2544), 0.0)}
SIZES |= {"grainy jpg": ((512, 420), 2.0), "grainy png": ((1024, 1024), 2.0)}
SYNTAXES = {"JPEG": (pydicom.uid.JPEGBaseline8Bit, 8), "JPEG lossless": (pydicom.uid.JPEGLosslessSV1, 12)}
SYNTAXES |= {"JPEG-LS": (pydicom.uid.JPEGLSLossless, 12), "JPEG 2000": (pydicom.uid.JPEG2000Lossless, 12)}
SYNTAXES |= {"RLE": (pydicom.uid.RLELossless, 12)}


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
    """In a process of its own: processor seconds to the first shuffled batch of frontal effusions, and their memory."""
    before = resident()
    began = time.process_time()
    rows = load_rows(DataConfig(index=index, resolution=SIDE), "train")
    rows = rows[rows["view"].isin(["PA", "AP"]) & rows["findings"].str.contains("Pleural Effusion")]
    dataset = CXRDataset(rows, SIDE)
    batches = iter(StepBatches(len(dataset), 64, 0))
    chosen = [dataset.records[row] for row, _ in next(batches)]
    seconds, kept = time.process_time() - began, len(rows)
    assert {record["view"] for record in chosen} == {"PA", "AP"}
    del rows
    pa.default_memory_pool().release_unused()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    answer.put((seconds, (resident() - before) / 1e9, (peak - before) / 1e9, kept))


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
        seconds, memory, peak, kept = answer.get()
        process.join()
    print(f"1 M rows, filtered by split, view and label: {kept:,} left; at most {peak:.2f} GB on the way", flush=True)
    yield "1 M rows: processor seconds to the first batch", seconds, 5.0
    yield "1 M rows: GB resident with the data set", memory, 1.0


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


def make_phantoms(plan: Plan, out: Path, jobs: list[tuple], start, answer) -> None:
    """One core's share of a data set of phantoms, every file written."""
    torch.set_num_threads(1)
    make_study(0)  # what is made once a process
    start.wait()
    began = time.perf_counter()
    for job in jobs:
        write_patient(plan, out, *job)
    answer.put(len(jobs) / (time.perf_counter() - began))


def phantoms() -> Iterator[Row]:
    """Phantoms of 256 px a second with all their files, of two processes at once; the limit is on their inverse."""
    with tempfile.TemporaryDirectory() as folder:
        plan = Plan(40, 1, SIDE, ("PA",), 0.0)
        prepare_folder(plan, Path(folder))
        jobs, context = list(plan.patients()), multiprocessing.get_context("fork")
        start, answer = context.Barrier(2), context.Queue()
        arguments = [(plan, Path(folder), jobs[part::2], start, answer) for part in range(2)]
        workers = [context.Process(target=make_phantoms, args=values) for values in arguments]
        for worker in workers:
            worker.start()
        rate = sum(answer.get() for _ in workers)
    print(f"phantoms a second on two cores: {rate:.1f}", flush=True)
    yield "phantom: seconds for 5 images", 5 / rate, 1.0


def radiograph(size: tuple[int, int], grain: float) -> np.ndarray:
    """Smooth shadows over the whole range, with a detector's grain (standard deviation in grey levels)."""
    rng = np.random.default_rng(0)
    smooth = Image.fromarray(rng.integers(0, 255, (64, 64), np.uint8)).resize(size, Image.Resampling.BICUBIC)
    return np.clip(np.asarray(smooth) + rng.normal(0, grain, size[::-1]), 0, 255).round().astype(np.uint8)


def decoding() -> Iterator[Row]:
    """File to model input against Pillow alone and torchvision alone, in processor time."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        for name, (size, grain) in SIZES.items():
            path = Path(folder) / f"{name}.{name[-3:]}"
            Image.fromarray(radiograph(size, grain)).save(path, quality=90)
            for peer, read in (("Pillow", with_pillow), ("torchvision", with_torchvision)):
                ratio = interleaved(repeated(prepare, path), repeated(read, path), clock=time.process_time)
                yield f"{name} {size[0]}: ours / {peer}", ratio, 1.0


def dicom() -> Iterator[Row]:
    """DICOM file to model input against its decoder alone."""
    torch.set_num_threads(1)
    grey = radiograph((2022, 2446), 2.0)
    with tempfile.TemporaryDirectory() as folder:
        for name, (syntax, bits) in SYNTAXES.items():
            path = Path(folder) / f"{name}.dcm"
            write_dicom(grey if bits == 8 else grey.astype(np.uint16) * 16 + 7, bits, syntax, path)
            ours, theirs = repeated(prepare, path, 1), repeated(decoder_alone, path, 1)
            yield f"DICOM {name}: ours / decoder", interleaved(ours, theirs, 5, time.process_time), 1.2


def write_dicom(pixels: np.ndarray, bits: int, syntax: str, path: Path) -> None:
    """A radiograph with a window, in a transfer syntax."""
    dataset = pydicom.Dataset()
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    dataset.SOPClassUID, dataset.SOPInstanceUID = pydicom.uid.DigitalXRayImageStorageForPresentation, "1.2.3"
    dataset.Modality, dataset.PhotometricInterpretation, dataset.SamplesPerPixel = "DX", "MONOCHROME2", 1
    dataset.set_pixel_data(pixels, "MONOCHROME2", bits)
    dataset.WindowCenter, dataset.WindowWidth = 2 ** (bits - 1), 2**bits
    if syntax == pydicom.uid.JPEGBaseline8Bit:
        jpeg = io.BytesIO()
        Image.fromarray(pixels).save(jpeg, "JPEG", quality=90)
        dataset.PixelData = pydicom.encaps.encapsulate([jpeg.getvalue()])
        dataset.file_meta.TransferSyntaxUID = syntax
    elif syntax != pydicom.uid.JPEGLosslessSV1:
        dataset.compress(syntax, generate_instance_uid=False)
    dataset.save_as(path, enforce_file_format=True)
    if syntax == pydicom.uid.JPEGLosslessSV1:
        as_lossless_jpeg(path)


def as_lossless_jpeg(path: Path) -> None:
    """Compress a file by GDCM, for pydicom cannot write this syntax."""
    reader, change, writer = gdcm.ImageReader(), gdcm.ImageChangeTransferSyntax(), gdcm.ImageWriter()
    reader.SetFileName(str(path))
    assert reader.Read()
    change.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.JPEGLosslessProcess14_1))
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    writer.SetFileName(str(path))
    assert writer.Write()


def decoder_alone(path: Path, _: int) -> np.ndarray:
    """The stored values, by the fastest decoder that pydicom has for them."""
    dataset = pydicom.dcmread(path)
    dataset.pixel_array_options(decoding_plugin=FASTEST.get(dataset.file_meta.TransferSyntaxUID, ""))
    return dataset.pixel_array


def shards() -> Iterator[Row]:
    """A radiograph from a tar and from a page of a Parquet file against the same one from a file."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        plain, tar, parquet = (Path(folder) / name for name in ("0.jpg", "0.tar", "0.parquet"))
        Image.fromarray(radiograph((512, 420), 2.0)).save(plain, quality=90)
        with tarfile.open(tar, "w") as archive:
            for number in range(100):
                archive.add(plain, f"{number}.jpg")
        images = [{"bytes": plain.read_bytes(), "path": f"{number}.jpg"} for number in range(100)]
        pq.write_table(pa.table({"image": images}), parquet, use_dictionary=False)
        for source, shard in (("webdataset", tar), ("huggingface", parquet)):
            rows, _ = build_index(source, [shard], Path(folder) / "index.parquet")
            ratio = interleaved(
                repeated(prepare, rows["image"][60]), repeated(prepare, str(plain)), clock=time.process_time
            )
            # a Parquet page of a megabyte is unpacked for one image of 40 kB
            yield f"{shard.suffix[1:]}: from the shard / from a file", ratio, 1.1 if shard is tar else 2.5


def repeated(read: Callable, path: Path | str, times: int = 20) -> Callable[[], None]:
    """Several readings of a file, as one piece of work."""

    def work() -> None:
        for _ in range(times):
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
    sys.exit(report((decoding, dicom, shards, cached_samples, phantoms, index_of_a_million), "bench_data.json"))
