"""The fuzz suite: python tests/chaos_fuzz.py [--cases 12000] [--seed 0] [--only NAME] [--keep FOLDER]

A case gives one reader of the suite one damaged or hostile file. It must end in success or in one UserError that names
the file, in less than SECONDS and with less than MEMORY beyond what the process had. tests/test_fuzz.py runs a few
cases of every surface; this command many, prints a table and ends with code 1 on a fault, whose inputs it keeps.
"""

from __future__ import annotations

import argparse
import atexit
import contextlib
import csv
import io
import json
import random
import resource
import runpy
import shutil
import signal
import struct
import sys
import tempfile
import time
import traceback
import warnings
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from gen.errors import UserError, plain_line

SECONDS = 20  # of processor time
MEMORY = 2 * 2**30  # bytes of address space
WORDS = (
    "",
    "NaN",
    "nan",
    "inf",
    "-inf",
    "1e999",
    "-1",
    "0",
    "99999999999999999999",
    "null",
    "True",
    "=1+1",
    "@SUM(A1)",
)
WORDS += (
    "../../../etc/passwd",
    "/etc/passwd",
    "/dev/zero",
    "\\\\host\\share",
    "C:\\x",
    "~root",
    "$(id)",
    "`id`",
    "%s%n",
)
WORDS += (
    "\x00",
    "\ufeff",
    "\u202e",
    "e\u0301" * 50,
    "\U0001f9e0",
    "x" * 100_000,
    '"',
    "'",
    "\r\n",
    ";",
    "," * 500,
    "[[" * 500,
)
VALUES = (None, True, False, -1, 0, 1, 2**31, 2**63, 10**30, -0.0, 1e308, float("nan"), float("inf"), [], {}, [[]], "")
NUMBERS = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


@dataclass(frozen=True)
class Surface:
    """One kind of input: `samples` makes good files, `damage` changes the bytes of one, `read` gives it to the suite.

    `name` is what the file is called; `weight` is its share of the cases.
    """

    name: str
    samples: Callable[[Path], list[bytes]]
    damage: Callable[[random.Random, bytes, list[bytes]], bytes]
    read: Callable[[Path], object]
    weight: float = 1.0
    good: bool = True  # whether the samples themselves must be accepted


@dataclass
class Outcome:
    """What came of the cases of one surface."""

    read: int = 0
    refused: int = 0
    faults: list[str] = field(default_factory=list)
    slowest: float = 0.0
    reasons: Counter = field(default_factory=Counter)


# ---- damage -----------------------------------------------------------------------------------------------------


def bytes_damage(rng: random.Random, data: bytes, others: list[bytes]) -> bytes:
    """One to eight changes that know nothing of the format."""
    for _ in range(rng.choice((1, 1, 1, 2, 3, 8))):
        place, length = rng.randrange(len(data) + 1), rng.choice((1, 2, 4, 16, 256))
        kind = rng.randrange(9)
        if kind == 0:
            data = data[:place]
        elif kind == 1:
            data = data[:place] + rng.randbytes(length) + data[place + length :]
        elif kind == 2:
            data = data[:place] + data[place + length :]
        elif kind == 3:
            data = data[:place] + data[place : place + length] * rng.randint(2, 50) + data[place + length :]
        elif kind == 4:
            size, order = rng.choice((1, 2, 4, 8)), rng.choice(("big", "little"))
            number = rng.choice(NUMBERS) % 256**size
            data = data[:place] + number.to_bytes(size, order) + data[place + size :]
        elif kind == 5 and data:
            place = rng.randrange(min(len(data), 256))  # headers are where the harm is
            data = data[:place] + bytes([data[place] ^ 1 << rng.randrange(8)]) + data[place + 1 :]
        elif kind == 6:
            other = rng.choice(others)
            data = data[:place] + other[rng.randrange(len(other)) :]
        elif kind == 7:
            data = data[:place] + bytes(length * 64) + data[place:]
        elif kind == 8:
            data = rng.choice((b"", b"\0", data[::-1], data + data, rng.randbytes(200)))
    return data


def text_damage(rng: random.Random, data: bytes, others: list[bytes]) -> bytes:
    """Changes of lines, cells and words; sometimes of bytes."""
    if rng.random() < 0.2:
        return bytes_damage(rng, data, others)
    lines = data.decode(errors="replace").split("\n")
    for _ in range(rng.choice((1, 1, 2, 4))):
        number = rng.randrange(len(lines))
        separator = rng.choice((",", ",", ": ", " ", "\t"))
        parts = lines[number].split(separator)
        kind = rng.randrange(6)
        if kind == 0:
            parts[rng.randrange(len(parts))] = rng.choice(WORDS)
        elif kind == 1:
            parts.insert(rng.randrange(len(parts) + 1), rng.choice(WORDS))
        elif kind == 2:
            del parts[rng.randrange(len(parts))]
        elif kind == 3:
            rng.shuffle(parts)
        lines[number] = separator.join(parts)
        if kind == 4:
            lines.insert(number, rng.choice(lines))
        elif kind == 5 and len(lines) > 1:
            del lines[number]
    return "\n".join(lines).encode(errors="surrogatepass")


def changed_json(rng: random.Random, value: object) -> object:
    """A JSON value with one leaf or branch exchanged, taken out or nested deeper."""
    if rng.random() < 0.25 or not isinstance(value, dict | list) or not value:
        nested: object = rng.choice((*VALUES, *WORDS[:12], "../../x", 5, 0.5, "PA"))
        for _ in range(rng.choice((0, 0, 0, 1, 50))):
            nested = [nested] if rng.random() < 0.5 else {"a": nested}
        return nested
    copy = dict(value) if isinstance(value, dict) else list(value)
    key = rng.choice(list(copy)) if isinstance(copy, dict) else rng.randrange(len(copy))
    if rng.random() < 0.15:
        copy.pop(key)
    else:
        copy[key] = changed_json(rng, copy[key])
    return copy


def json_damage(rng: random.Random, data: bytes, others: list[bytes]) -> bytes:
    """Changes of the structure; sometimes of the text."""
    if rng.random() < 0.2:
        return text_damage(rng, data, others)
    value = json.loads(data)
    for _ in range(rng.choice((1, 1, 2, 3))):
        value = changed_json(rng, value)
    if rng.random() < 0.02:
        return b"[" * 100_000
    return json.dumps(value).encode()


def png_damage(rng: random.Random, data: bytes, others: list[bytes]) -> bytes:
    """Changes inside the chunks with right checksums, so that they reach the decoder; sizes of bombs."""
    if rng.random() < 0.4 or data[:4] != b"\x89PNG":
        return bytes_damage(rng, data, others)
    chunks, place = [], 8
    while place + 12 <= len(data):
        (length,) = struct.unpack(">I", data[place : place + 4])
        chunks.append((data[place + 4 : place + 8], data[place + 8 : place + 8 + length]))
        place += 12 + length
    number = rng.randrange(len(chunks))
    kind, payload = chunks[number]
    if kind == b"IHDR" and rng.random() < 0.7:
        width, height = (rng.choice((0, 1, 16, 1000, 20_000, 100_000, 2**31 - 1)) for _ in range(2))
        payload = struct.pack(">II", width, height) + payload[8:]
    elif kind == b"IDAT" and rng.random() < 0.3:
        payload = zlib.compress(bytes(rng.choice((0, 10, 10**7))))
    elif payload:
        payload = bytes_damage(rng, payload, [payload])
    chunks[number] = (kind, payload)
    if rng.random() < 0.1:
        chunks.insert(1, (b"zTXt", b"cxr-gen\0\0" + zlib.compress(bytes(10**7))))
    return data[:8] + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body)) for name, body in chunks
    )


def dicom_damage(rng: random.Random, data: bytes, others: list[bytes]) -> bytes:
    """Elements with other values, or none; sometimes other bytes."""
    from pydicom import config, dcmread

    if rng.random() < 0.4:
        return bytes_damage(rng, data, others)
    config.settings.writing_validation_mode = config.IGNORE
    dataset = dcmread(io.BytesIO(data))
    for _ in range(rng.choice((1, 1, 2, 3))):
        element = rng.choice(list(dataset))
        if rng.random() < 0.2:
            del dataset[element.tag]
            continue
        choices = {"US": NUMBERS[:8], "DS": ("0", "-1", "1e30", "nan", ""), "IS": ("0", "99999", "-3", "2147483647")}
        if element.VR == "OW" or element.VR == "OB":
            value: object = bytes_damage(rng, bytes(element.value), others)
        else:
            value = rng.choice(choices.get(element.VR, ("", "MONOCHROME1", "RGB", "PALETTE COLOR", "X" * 5000)))
        with contextlib.suppress(Exception):  # pydicom refuses some values itself
            element.value = value
    file = io.BytesIO()
    try:
        dataset.save_as(file)
    except Exception:  # and cannot write others
        return bytes_damage(rng, data, others)
    return file.getvalue()


def header_damage(rng: random.Random, data: bytes, others: list[bytes]) -> bytes:
    """A safetensors file with another header of the right length."""
    if rng.random() < 0.4:
        return bytes_damage(rng, data, others)
    (length,) = struct.unpack("<Q", data[:8])
    header = json_damage(rng, data[8 : 8 + length], others)
    stated = len(header) if rng.random() < 0.9 else rng.choice((0, 2**40, 2**63, length))
    return struct.pack("<Q", stated) + header + data[8 + length :]


def parquet_damage(rng: random.Random, data: bytes, others: list[bytes]) -> bytes:
    """Columns of other types and values, written as good Parquet; sometimes other bytes."""
    if rng.random() < 0.3:
        return bytes_damage(rng, data, others)
    table = pd.read_parquet(io.BytesIO(data))
    for _ in range(rng.choice((1, 1, 2))):
        name = rng.choice(list(table.columns))
        kind = rng.randrange(8)
        if kind == 0:
            table = table.drop(columns=name)
        elif kind == 1:
            table = table.rename(columns={name: rng.choice(("x", "", " prompt", "image "))})
        elif kind == 2:
            table = table.iloc[: rng.choice((0, 1))]
        else:
            value = rng.choice((*WORDS, *VALUES[:13], b"\xff", [1], {"a": 1}, pd.Timestamp(0), 1.5))
            column = table[name].astype(object)
            if rng.random() < 0.5 or not len(column):
                column[:] = [value] * len(column)
            else:
                column.iat[rng.randrange(len(column))] = value
            table[name] = column
        if not len(table.columns):
            break
    file = io.BytesIO()
    try:
        table.to_parquet(file, index=False)
    except Exception:  # mixed types that Parquet cannot hold
        return bytes_damage(rng, data, others)
    return file.getvalue()


# ---- running one case -------------------------------------------------------------------------------------------


class Hang(BaseException):
    """A case took longer than SECONDS."""


@contextlib.contextmanager
def bounded() -> Iterator[None]:
    """Limits of time and memory."""

    def ring(*_: object) -> None:
        raise Hang

    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    before = signal.signal(signal.SIGPROF, ring)
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def run_case(surface: Surface, path: Path) -> str:
    """ "read", the words of the refusal, or "FAULT ..." for anything else."""
    try:
        with bounded(), contextlib.redirect_stderr(io.StringIO()):
            surface.read(path)
    except UserError as error:
        said = plain_line(str(error))
        return said if path.name in said or path.parent.name in said else f"FAULT names no file: {said[:300]}"
    except Hang:
        return f"FAULT more than {SECONDS} s"
    except (Exception, SystemExit) as error:
        place = traceback.extract_tb(error.__traceback__)
        ours = next((f for f in reversed(place) if "/gen/" in f.filename or "/sample/" in f.filename), place[-1])
        return f"FAULT {type(error).__name__} at {Path(ours.filename).name}:{ours.lineno}: {str(error)[:200]}"
    return "read"


def fuzz(surface: Surface, cases: int, seed: int, work: Path, keep: Path | None = None) -> Outcome:
    """So many cases of one surface; the same for the same seed. The undamaged samples come first."""
    outcome = Outcome()
    warnings.simplefilter("ignore")
    folder = work / surface.name.replace(".", "_").replace("/", "_")
    folder.mkdir(parents=True, exist_ok=True)
    samples = surface.samples(folder)
    path = folder / surface.name
    path.parent.mkdir(parents=True, exist_ok=True)
    if surface.good:  # once without limits: libraries are loaded now
        path.write_bytes(samples[0])
        surface.read(path)
    for number in range(-len(samples) if surface.good else 0, cases):
        rng = random.Random(f"{seed}/{surface.name}/{number}")
        data = samples[number] if number < 0 else surface.damage(rng, rng.choice(samples), samples)
        path.write_bytes(data)
        began = time.process_time()
        said = run_case(surface, path)
        outcome.slowest = max(outcome.slowest, time.process_time() - began)
        if number < 0 and said != "read":
            said = f"FAULT a good file is refused: {said}"
        if said.startswith("FAULT"):
            outcome.faults.append(f"case {number}: {said}")
            if keep is not None:
                keep.mkdir(parents=True, exist_ok=True)
                (keep / f"{surface.name.replace('/', '_')}.{seed}.{number}").write_bytes(data)
        elif said == "read":
            outcome.read += 1
        else:
            outcome.refused += 1
    return outcome


# ---- what is read -----------------------------------------------------------------------------------------------


def grey(seed: int, shape: tuple[int, int] = (40, 32), dtype: type = np.uint8) -> np.ndarray:
    """A small noisy picture."""
    return np.random.default_rng(seed).integers(0, np.iinfo(dtype).max, shape).astype(dtype)


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    """A picture as the bytes of a file."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def read_pixels(path: Path) -> None:
    """Everything that reads an image file."""
    from gen.data.images import prepare, read_image

    array = read_image(path)
    assert array.ndim == 2 and np.isfinite(array).all() and 0 <= array.min() <= array.max() <= 1, "not 0..1"
    prepare(path, 16)


def read_png(path: Path) -> None:
    """An image of ours, with its record."""
    from gen.provenance import read_record

    read_pixels(path)
    read_record(path)


def png_samples(_: Path) -> list[bytes]:
    from PIL.PngImagePlugin import PngInfo

    from gen.provenance import RECORD_KEY, SynthesisRecord

    info = PngInfo()
    info.add_itxt(RECORD_KEY, SynthesisRecord("PA chest radiograph.", 1, 2, 1.0, "x", "y", "z").to_json())
    eight = Image.fromarray(grey(0))
    colours = Image.fromarray(np.stack([grey(seed) for seed in range(4)], -1))
    images = [eight, Image.fromarray(grey(1, dtype=np.uint16)), colours, colours.convert("P"), eight.convert("1")]
    return [encoded(image, "PNG", pnginfo=info) for image in images]


def jpeg_samples(_: Path) -> list[bytes]:
    eight, colours = Image.fromarray(grey(0, (200, 100))), Image.fromarray(np.stack([grey(s) for s in range(3)], -1))
    plain = [encoded(image, "JPEG") for image in (eight, colours, colours.convert("CMYK"))]
    return [*plain, encoded(eight, "JPEG", progressive=True)]


def tiff_samples(_: Path) -> list[bytes]:
    eight, deep = Image.fromarray(grey(0)), Image.fromarray(grey(1, dtype=np.uint16))
    return [encoded(eight, "TIFF"), encoded(deep, "TIFF"), encoded(eight, "TIFF", compression="tiff_lzw")]


def dicom_samples(folder: Path) -> list[bytes]:
    from pydicom import Dataset, dcmread
    from pydicom.uid import DeflatedExplicitVRLittleEndian, RLELossless

    from gen.data.dicom_writing import write_synthetic_dicom

    for name, dtype in (("a.dcm", np.uint8), ("b.dcm", np.uint16)):
        write_synthetic_dicom(folder / name, grey(0, dtype=dtype), {"prompt": "x"}, "PA", "F", 40.0)
    files = [(folder / name).read_bytes() for name in ("a.dcm", "b.dcm")]

    def changed(change: Callable[[Dataset], None]) -> bytes:
        dataset, file = dcmread(folder / "b.dcm"), io.BytesIO()
        change(dataset)
        dataset.save_as(file)
        return file.getvalue()

    def window(dataset: Dataset) -> None:
        dataset.WindowCenter, dataset.WindowWidth, dataset.RescaleSlope, dataset.RescaleIntercept = 30000, 20000, 2, -5

    def table(dataset: Dataset) -> None:
        item = Dataset()
        item.LUTDescriptor, item.LUTData = [256, 0, 16], list(range(0, 65536, 256))
        item["LUTDescriptor"].VR = item["LUTData"].VR = "US"
        dataset.VOILUTSequence = [item]

    def deflate(dataset: Dataset) -> None:
        dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian

    return [*files, *map(changed, (window, table, deflate, lambda dataset: dataset.compress(RLELossless)))]


def dicom_bombs(rng: random.Random, data: bytes, others: list[bytes]) -> bytes:
    """DICOM damage, and now and then a deflated file of two gigabytes of zeros."""
    if rng.random() > 0.01:
        return dicom_damage(rng, data, others)
    start = others[4].find(b"1.2.840.10008.1.2.1.99")
    assert start > 0, "no deflated sample"
    squeeze = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    (length,) = struct.unpack("<I", others[4][140:144])  # of the file meta group
    piece = squeeze.compress(bytes(10**7)) + squeeze.flush(zlib.Z_FULL_FLUSH)  # stands alone, so it may be repeated
    return others[4][: 144 + length] + piece * 250 + squeeze.flush()


def index_frame(folder: Path) -> pd.DataFrame:
    for number in range(4):
        Image.fromarray(grey(number)).save(folder / f"{number}.png")
    rows = {"image": [f"{n}.png" for n in range(4)], "patient_id": list("aabc"), "study_id": list("wxyz")}
    rows |= {
        "split": ["train", "train", "val", "test"],
        "view": ["PA", "AP", "LATERAL", ""],
        "sex": ["M", "F", "", "M"],
    }
    rows |= {"age": [64.0, 3.0, np.nan, 50.0], "findings": ["No Finding", "Cardiomegaly;Edema", "", "Pneumonia"]}
    rows |= {"report": ["Heart is large.", "", "No effusion.", "x"], "may_ship": [True, False, True, True]}
    rows["view"][3] = "UNKNOWN"
    return pd.DataFrame(rows)


def index_samples(folder: Path) -> list[bytes]:
    return [index_frame(folder).to_csv(index=False).encode()]


def index_parquet_samples(folder: Path) -> list[bytes]:
    index_frame(folder).to_parquet(folder / "good.parquet", index=False)
    return [(folder / "good.parquet").read_bytes()]


def read_whole_index(path: Path) -> None:
    """What training and `cxr-index` do with an index."""
    from gen.data.dataset import CXRDataset
    from gen.data.index import check_index, load_table, read_index, write_index
    from gen.data.labelling import label_table
    from gen.data.summary import summary

    check_index(load_table(path))
    table = read_index(path)
    summary(table)
    if "report" in table:
        label_table(table, str(path), keep=False)
    write_index(table, path.with_name(f"again{path.suffix}"))
    if all(Path(image).parent == path.parent.absolute() for image in table["image"]):
        dataset = CXRDataset(table, 16)
        for row in range(len(dataset)):
            dataset[row, row]


def read_labels_table(path: Path) -> None:
    """`cxr-index build folder --csv`."""
    from gen.data.index import validate
    from gen.data.sources.folder import rows

    validate(rows(path.parent, path), path)


def labels_samples(folder: Path) -> list[bytes]:
    frame = index_frame(folder)
    frame = frame.rename(columns={"image": "Image Index", "findings": "Finding Labels", "age": "Patient Age"})
    hot = frame[["Image Index"]].assign(Cardiomegaly=["1.0", "", "-1.0", "0.0"], Edema=["", "1", "0", ""])
    return [frame.to_csv(index=False).encode(), hot.to_csv(index=False).encode()]


def prompts_samples(_: Path) -> list[bytes]:
    head = b"prompt,view,sex,age,findings,n,seed,ward\n"
    rows = b'PA chest radiograph.,PA,F,40,Edema,2,7,A\n"Heart, large.",,,,,,,\nChild with pneumonia.,AP,M,3,,1,,B\n'
    return [head + rows, b"prompt\nClear lungs.\n"]


def read_prompts(path: Path) -> None:
    """`cxr-sample image --table`."""
    from gen.data.compose import attributes
    from gen.sample.request import Request, expand, read_table

    requests = read_table(path, Request())
    if sum(request.n for request in requests) < 10_000:
        for item in expand(requests, 0):
            attributes(item.prompt)


def manifest_samples(_: Path) -> list[bytes]:
    from gen.sample.manifest import COLUMNS

    file = io.StringIO()
    writer = csv.DictWriter(file, COLUMNS, restval="x", lineterminator="\n")
    writer.writeheader()
    writer.writerows({"img_savename": f"{n}.png", "seed": n} for n in range(3))
    return [file.getvalue().encode()]


def read_csv_manifest(path: Path) -> None:
    from gen.sample.manifest import intact, read_manifest

    for row in read_manifest(path.parent).values():
        intact(path.parent, row)


def plan_samples(folder: Path) -> list[bytes]:
    frame = pd.DataFrame({"id": ["a", "b-1", "c_2"], "prompt": ["PA chest radiograph.", "Heart is large.", "Child."]})
    frame = frame.assign(view=["PA", "", "AP"], sex=["M", "", "F"], age=[40.0, np.nan, 3.0], seed=[1, 2, 2**62])
    frame.assign(findings=["", "Cardiomegaly", ""], source="x").to_parquet(folder / "good.parquet", index=False)
    return [(folder / "good.parquet").read_bytes()]


def read_plan_rows(path: Path) -> None:
    from gen.sample.plan import read_plan

    plan = read_plan(path)
    list(plan.items(list(range(len(plan)))))
    plan.fingerprint()


def part_samples(folder: Path) -> list[bytes]:
    from gen.sample.parts import Parts, part_names
    from gen.sample.split import Shard
    from gen.sample.store import Folder

    parts = Parts(Folder(folder / "set"), Shard(), 1)
    parts.add([{"id": name, "try": 0, "status": "accepted", "file": f"{name}.png", "seed": 1} for name in "ab"])
    return [Folder(folder / "set").read(name) for name in part_names(parts.store)]


def read_parts(path: Path) -> None:
    from gen.sample.parts import read_manifest
    from gen.sample.store import Folder

    read_manifest(Folder(path.parent.parent)).to_pylist()


def config_samples(_: Path) -> list[bytes]:
    return [path.read_bytes() for path in sorted(Path("configs").glob("*.yaml"))]


def config_damage(rng: random.Random, data: bytes, others: list[bytes]) -> bytes:
    """Text damage, and the tricks of YAML: tags, aliases within aliases, depth, a file within itself."""
    if rng.random() < 0.9:
        return text_damage(rng, data, others)
    laughs = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 30))
    tricks = (b"!!python/object/apply:os.system [id]", b"a: &a [*a]", b"[" * 5000, b"{a: " * 3000, laughs.encode())
    return rng.choice((data + b"\n", b"")) + rng.choice(tricks)


@cache
def every_job() -> tuple[type, ...]:
    """What a recipe may hold, job by job, as the documentation lists it."""
    generate = runpy.run_path(str(Path(__file__).parents[1] / "docs" / "generate.py"))
    return tuple(generate["jobs"]().values())


def read_config(path: Path) -> None:
    """The file as each job would read it; one that some job reads is good."""
    from gen.config import config_hash, load_config, save_config

    refusals, jobs = [], every_job()
    for job in jobs:
        try:
            config = load_config(job, path)
            config_hash(config)
            save_config(config, path.with_name("again.yaml"))
        except UserError as error:
            refusals.append(error)
    if len(refusals) == len(jobs):
        raise refusals[0]


def override_samples(_: Path) -> list[bytes]:
    return [b"train.steps=3", b"data.index=x.parquet", b"train.betas=[0.9, 0.99]", b"task.drop=0.5"]


def read_override(path: Path) -> None:
    from gen.config import load_config
    from gen.schema import LatentJob

    text = path.read_bytes().decode(errors="surrogateescape")
    try:
        load_config(LatentJob, "configs/text_256.yaml", [text])
    except UserError as error:
        raise UserError(f"{path.name}: {error}") from None


def sentences(_: Path) -> list[bytes]:
    texts = ["PA chest radiograph of a 60-year-old woman. Cardiomegaly. No pleural effusion, but edema is likely."]
    texts += [
        "FINDINGS: The heart is ___ and XXXX.\nIMPRESSION: 1. Possible pneumonia vs. atelectasis.",
        "Child, 3 months.",
    ]
    return [text.encode() for text in texts]


def read_sentence(path: Path) -> None:
    """A prompt and a report."""
    from gen.data.compose import compose_prompt
    from gen.data.labeller import label_report
    from gen.data.reports import clean_report, report_sections
    from gen.sample.request import Request, expand

    text = path.read_bytes().decode(errors="replace")
    label_report(text)
    report_sections(clean_report(text))
    compose_prompt(text)
    expand([Request(text, view="PA", place=path.name)], 0)


READER_WEIGHTS = "diffusion_pytorch_model.safetensors"
MODEL_FILES = ("model_index.json", "unet/config.json", "vae/config.json", "text_encoder/config.json")
MODEL_FILES += ("scheduler/scheduler_config.json", "tokenizer/tokenizer.json", "tokenizer/tokenizer_config.json")
WEIGHT_FILES = ("unet/diffusion_pytorch_model.safetensors", "vae/diffusion_pytorch_model.safetensors")
WEIGHT_FILES += ("text_encoder/model.safetensors",)


@cache
def tiny_model() -> Path:
    """The tests' tiny model with random weights, saved once a process."""
    import torch

    folder = Path(tempfile.mkdtemp(prefix="fuzz-model-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    torch.manual_seed(0)
    runpy.run_path(str(Path(__file__).with_name("conftest.py")))["_random_pipeline"]().save_pretrained(folder)
    return folder


def model_samples(name: str) -> Callable[[Path], list[bytes]]:
    """A tiny model's folder, and the one file of it that is to be damaged."""

    def samples(folder: Path) -> list[bytes]:
        shutil.copytree(tiny_model(), folder, dirs_exist_ok=True)
        return [(folder / name).read_bytes()]

    return samples


def model_reader(name: str) -> Callable[[Path], None]:
    def read(path: Path) -> None:
        """Load the model and draw with it."""
        from gen.pipeline import CXRPipeline

        folder = path.parents[name.count("/")]
        try:
            pipeline = CXRPipeline.from_pretrained(folder)
        except UserError as error:
            raise UserError(f"{path.name}: {error}") from None  # an error may name the folder instead of the file
        if pipeline.config.resolution <= 64 and pipeline.config.max_tokens <= 64:
            pipeline("PA chest radiograph.", steps=1, progress=False)

    return read


def moments_samples(name: str) -> Callable[[Path], list[bytes]]:
    def samples(folder: Path) -> list[bytes]:
        from gen.data.moments import MomentsStore

        if not (folder / "store.json").is_file():
            store = MomentsStore.create(folder, ["a", "b", "c"], (1, 8, 4, 4), "0" * 16, [0.0] * 4)
            for row in range(3):
                store.write(row, np.ones((1, 8, 4, 4), np.float16))
        return [(folder / name).read_bytes()]

    return samples


def read_moments(path: Path) -> None:
    from gen.data.moments import MomentsStore

    store = MomentsStore(path.parent)
    store.pending()
    for key in ("a", "b"):
        if not store.missing([key]):
            store[key, 0]
    store.check_codec([0.0] * 4)


def beside_samples(name: str) -> Callable[[Path], list[bytes]]:
    def samples(folder: Path) -> list[bytes]:
        from gen.data.annotations import write_boxes, write_masks

        index_frame(folder).to_parquet(folder / "index.parquet", index=False)
        image = str(folder / "0.png")
        np.save(folder / "stack.npy", np.ones((2, 4, 4), np.uint8))
        write_boxes(
            pd.DataFrame([{"image": image, "label": "x", "x0": 0, "y0": 0, "x1": 3, "y1": 4}]), folder / "index"
        )
        masks = [{"image": image, "structure": "lungs", "mask": str(folder / "stack.npy"), "channel": 1, "rle": ""}]
        masks += [{"image": image, "structure": "heart", "mask": "", "channel": 0, "rle": "0 4 8 2"}]
        write_masks(pd.DataFrame(masks), folder / "index")
        return [(folder / f"{name}.parquet").read_bytes()]

    return samples


def read_annotations(path: Path) -> None:
    from gen.data.annotations import read_beside, read_mask

    for row in read_beside(path.parent / "index.parquet", path.stem).to_dict("records"):
        if path.stem == "masks":
            read_mask(row, (4, 4))


def read_run_config(path: Path) -> None:
    """Going on with a run whose folder was damaged."""
    from gen.config import load_config
    from gen.engine.checkpoint import claim_run
    from gen.schema import LatentJob

    claim_run(path.parent, load_config(LatentJob, "configs/text_256.yaml"), "x")


def run_config_samples(folder: Path) -> list[bytes]:
    from gen.config import load_config
    from gen.engine.checkpoint import claim_run
    from gen.schema import LatentJob

    claim_run(folder, load_config(LatentJob, "configs/text_256.yaml"), "x")
    return [(folder / "config.yaml").read_bytes()]


def read_metrics(path: Path) -> None:
    from gen.engine.metrics import rewind

    rewind(path, 10)


def read_quarantine(path: Path) -> None:
    from gen.data.quarantine import Quarantine

    Quarantine(path, 0.5, 1000).names()


def target_samples(_: Path) -> list[bytes]:
    return [b"groups:\n  - {n: 20, findings: Edema, view: {PA: 2, AP: 1}, sex: [M, F], age: [18-40, 60]}\n  - {n: 3}\n"]


def read_target_rows(path: Path) -> None:
    """`cxr-sample plan --target`, if it asks for few images."""
    from gen.sample.targets import read_target, target_conditions

    target = read_target(path)
    if sum(group.n for group in target.groups) < 1000:
        list(target_conditions(target, random.Random(0)))


def read_gate_thresholds(path: Path) -> None:
    from gen.sample.thresholds import read_thresholds

    read_thresholds(path)


def reader_samples(name: str) -> Callable[[Path], list[bytes]]:
    def samples(folder: Path) -> list[bytes]:
        from gen.models.classifier import RadiographClassifier

        if not (folder / "config.json").is_file():
            shape = {"widths": (4, 8), "blocks": (1, 1), "features": 8, "resolution": 32}
            RadiographClassifier(("Edema",), **shape).save_pretrained(folder)
        return [(folder / name).read_bytes()]

    return samples


def read_reader(path: Path) -> None:
    import torch

    from gen.judges.reader import Reader

    Reader.load(path.parent).read(torch.zeros(1, 1, 40, 40))


SURFACES = [
    Surface("image.png", png_samples, png_damage, read_png, 8),
    Surface("image.jpg", jpeg_samples, bytes_damage, read_pixels, 6),
    Surface("image.tif", tiff_samples, bytes_damage, read_pixels, 4),
    Surface("image.dcm", dicom_samples, dicom_bombs, read_pixels, 8),
    Surface("index.csv", index_samples, text_damage, read_whole_index, 4),
    Surface("index.parquet", index_parquet_samples, parquet_damage, read_whole_index, 4),
    Surface("labels.csv", labels_samples, text_damage, read_labels_table, 4),
    Surface("prompts.csv", prompts_samples, text_damage, read_prompts, 5),
    Surface("sentence.txt", sentences, text_damage, read_sentence, 4),
    Surface("manifest.csv", manifest_samples, text_damage, read_csv_manifest, 3),
    Surface("plan.parquet", plan_samples, parquet_damage, read_plan_rows, 5),
    Surface("set/manifest/00001-1of1-x-000000.parquet", part_samples, parquet_damage, read_parts, 3),
    Surface("recipe.yaml", config_samples, config_damage, read_config, 4),
    Surface("override.txt", override_samples, text_damage, read_override, 2),
    Surface("config.yaml", run_config_samples, config_damage, read_run_config, 2),
    Surface(
        "metrics.jsonl",
        lambda _: [b'{"loss": 1.0, "step": 1}\n{"step": 2, "validation": {}}\n'],
        text_damage,
        read_metrics,
    ),
    Surface("unreadable.csv", lambda _: [b"image,reason\na,b\nc,d\n"], text_damage, read_quarantine),
    Surface("boxes.parquet", beside_samples("boxes"), parquet_damage, read_annotations, 2),
    Surface("masks.parquet", beside_samples("masks"), parquet_damage, read_annotations, 2),
    Surface("store.json", moments_samples("store.json"), json_damage, read_moments, 3),
    Surface("moments.npy", moments_samples("moments.npy"), bytes_damage, read_moments, 2),
    Surface("done.npy", moments_samples("done.npy"), bytes_damage, read_moments, 2),
    Surface("target.yaml", target_samples, config_damage, read_target_rows, 2),
    Surface(
        "gates.yaml", lambda _: [b"view: 0.1\nage: 20\nlabels: {Edema: 0.3}\n"], config_damage, read_gate_thresholds
    ),
    Surface("config.json", reader_samples("config.json"), json_damage, read_reader, 1.5),
    Surface("diffusion_pytorch_model.safetensors", reader_samples(READER_WEIGHTS), header_damage, read_reader, 1.5),
    *(Surface(name, model_samples(name), json_damage, model_reader(name), 1.5) for name in MODEL_FILES),
    *(Surface(name, model_samples(name), header_damage, model_reader(name), 1.5) for name in WEIGHT_FILES),
]


def grouped(faults: list[str]) -> dict[str, list[str]]:
    """Faults by type and line."""
    groups: dict[str, list[str]] = {}
    for fault in faults:
        groups.setdefault(":".join(fault.split(":")[1:3]), []).append(fault)
    return groups


def main() -> int:
    """Print a line a surface, then the sum; 1 where a case was neither read nor clearly refused."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=12_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="surfaces with this in their name")
    parser.add_argument("--keep", type=Path, default=Path("runs/fuzz"), help="folder for the inputs of faults")
    arguments = parser.parse_args()
    surfaces = [surface for surface in SURFACES if arguments.only in surface.name]
    share = arguments.cases / sum(surface.weight for surface in surfaces)
    print(f"{'input':45}{'cases':>7}{'read':>7}{'refused':>9}{'faults':>8}{'slowest s':>11}")
    total = Outcome()
    with tempfile.TemporaryDirectory() as work:
        for surface in surfaces:
            cases = -int(-share * surface.weight // 1)
            outcome = fuzz(surface, cases, arguments.seed, Path(work), arguments.keep)
            counts = (outcome.read + outcome.refused + len(outcome.faults), outcome.read, outcome.refused)
            line = f"{counts[0]:7}{counts[1]:7}{counts[2]:9}{len(outcome.faults):8}{outcome.slowest:11.2f}"
            print(f"{surface.name:45}{line}", flush=True)
            for faults in grouped(outcome.faults).values():
                print(f"    {len(faults)} x {faults[0][:240]}", flush=True)
            total.read, total.refused = total.read + outcome.read, total.refused + outcome.refused
            total.faults += outcome.faults
    print(
        f"{total.read + total.refused + len(total.faults)} cases, {total.read} read, {total.refused} refused with one"
    )
    print(f"line, {len(total.faults)} faults")
    return int(bool(total.faults))


if __name__ == "__main__":
    sys.exit(main())
