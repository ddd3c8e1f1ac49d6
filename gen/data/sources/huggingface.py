"""Hugging Face datasets: Parquet files, folders written by save_to_disk, names on the hub.

The image column holds {bytes, path} or plain bytes; an index row points to these bytes inside the Parquet or Arrow
file, or to the file at `path` where there are none. All other columns of text, numbers and lists can be mapped.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePosixPath

import pandas as pd
import pyarrow as pa
from tqdm import tqdm

from gen.data.addresses import is_url, packed_part, part, read_bytes
from gen.data.images import IMAGE_SUFFIXES
from gen.data.parquet_pages import values
from gen.data.sources.adapter import Tables
from gen.data.sources.mapping import as_text, completed, renamed
from gen.data.sources.shards import HEAD, listed, opened, split_of, suffix_of
from gen.errors import UserError

SUFFIXES = (".parquet", ".arrow")
IMAGE_NAMES = ("image", "img", "png", "jpg", "jpeg", "pixels", "dicom")
Place = tuple[bytes, tuple | None]  # first bytes of a value, and what makes its address together with a name


def read(places: Sequence[str], columns: Mapping[str, str]) -> Tables:
    """Index rows of Parquet files, saved data sets or hub names; rows without an image come back as rejected.

    `columns` maps index columns to the data set's, `image` among them where its features do not tell.
    Errors: UserError for what is not there, has no image column, is damaged or compressed as a whole.
    """
    shards = [shard for place in places for shard in _shards(place)]
    rejected: list[tuple[str, str]] = []
    named = list(zip(shards, _titles(shards), strict=True))
    tables = [_rows(*one, columns, rejected) for one in tqdm(named, desc="shards", unit="", disable=None)]
    table = pd.concat(tables, ignore_index=True).fillna("")
    if table.empty:
        reason = f" (first row left out: {': '.join(rejected[0])})" if rejected else ""
        raise UserError(f"{', '.join(places)}: no row with an image in {len(shards)} files{reason}")
    splits = [split_of(shard) for shard in table["shard"]]
    if "split" not in table and all(splits):
        table["split"] = splits
    rows = completed(table.drop(columns=["shard", "name"]), table["name"], PurePosixPath(places[0]).stem)
    return Tables(rows, rejected=rejected)


def _shards(place: str) -> list[str]:
    if is_url(place) or os.path.exists(place) or any(sign in place for sign in "*?[{"):
        found = listed(place, SUFFIXES)
        # what `datasets` keeps beside a saved set while it works on it
        return [shard for shard in found if not os.path.basename(shard).startswith(("cache-", "tmp"))]
    return _from_hub(place)


def _from_hub(name: str) -> list[str]:
    """The Arrow files of a data set on the hub, downloaded by `datasets`, which runs no code of a data set."""
    try:
        from datasets import DatasetDict, load_dataset
    except ImportError:
        raise UserError(f"{name}: no such file; a hub name needs datasets: pip install cxr-gen[data]") from None
    try:
        loaded = load_dataset(name)
    except Exception as error:  # datasets, the hub's client and requests raise types of their own
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{name}: no such file or folder, and no such data set to be had ({reason})") from None
    parts = loaded.values() if isinstance(loaded, DatasetDict) else [loaded]
    return [os.path.abspath(file["filename"]) for dataset in parts for file in dataset.cache_files]


def _titles(shards: Sequence[str]) -> list[str]:
    """A name of its own for each shard: its file's, with its folder's where files share one."""
    paths = [PurePosixPath(shard) for shard in shards]
    for titles in ([path.stem for path in paths], [f"{path.parent.name}-{path.stem}" for path in paths]):
        if len(set(titles)) == len(titles):
            return titles
    return [f"{number}-{path.stem}" for number, path in enumerate(paths)]


def _rows(shard: str, title: str, columns: Mapping[str, str], rejected: list[tuple[str, str]]) -> pd.DataFrame:
    try:
        read_shard = _parquet if shard.lower().endswith(".parquet") else _arrow
        schema, table, column, places = read_shard(shard, columns.get("image", ""))
    except (OSError, ValueError, KeyError, IndexError, struct.error, pa.ArrowException) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{shard}: damaged or unfit file ({' '.join(str(error).split())}); copy it again") from None
    raw = _as_text(table, schema, column, len(places))
    others = {target: name for target, name in columns.items() if target != "image"}
    rows = renamed(shard, raw, others).drop(columns="image", errors="ignore")
    names = [f"{title}-{row:06d}" for row in range(len(places))]
    images = [_address(shard, row, names[row], place, rejected) for row, place in enumerate(places)]
    rows = rows.reset_index(drop=True).assign(image=images, name=names, shard=shard)
    return rows.loc[rows["image"] != ""]


def _address(shard: str, row: int, name: str, place: tuple, rejected: list[tuple[str, str]]) -> str:
    """The address of one row's image, empty (and the reason told) where it has none."""
    head, where, path = place
    given = PurePosixPath(path or "")
    if where is None:
        reason = _astray(given, shard) if path else "no image"
        if not reason:
            return path if is_url(path) else os.path.join(os.path.dirname(shard), path)
        rejected.append((f"{shard}#row={row}", reason))
        return ""
    suffix = suffix_of(head) or (given.suffix.lower() if given.suffix.lower() in (".dcm", ".dicom") else "")
    if not suffix:
        rejected.append((f"{shard}#row={row}", "bytes that are no image"))
        return ""
    title = given.stem if given.suffix.lower() in IMAGE_SUFFIXES else name
    block, packing = where
    if packing:
        return packed_part(shard, block, *packing, f"{title}{suffix}")
    return part(shard, *block, f"{title}{suffix}")


def _astray(path: PurePosixPath, shard: str) -> str:
    """Why a data set may not name such a file, or nothing; absolute paths only where `datasets` wrote them here."""
    astray = ".." in path.parts or (path.is_absolute() and not shard.endswith(".arrow"))
    return "its path leads out of the data set" if astray else ""


def _image_column(schema: pa.Schema, wanted: str, shard: str) -> str:
    """The column asked for, or the one that the data set's features or its own shape call an image."""
    features = _features(schema)
    by_feature = [name for name in schema.names if features.get(name, {}).get("_type") == "Image"]
    by_shape = [field.name for field in schema if _is_image(field.type)]
    by_name = [name for name in schema.names if name.lower() in IMAGE_NAMES]
    for found in ([wanted] if wanted else [], by_feature, by_shape, by_name):
        if found and found[0] in schema.names:
            return found[0]
    have = ", ".join(schema.names)
    raise UserError(f"{shard}: no image column {wanted!r} (found: {have}); name it with --map image=COLUMN")


def _is_image(kind: pa.DataType) -> bool:
    return pa.types.is_struct(kind) and {"bytes", "path"} <= {kind.field(i).name for i in range(kind.num_fields)}


def _features(schema: pa.Schema) -> dict:
    """What `datasets` writes about the columns, empty for other writers."""
    try:
        written = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
        features = written.get("info", {}).get("features") or {}
        return {name: feature if isinstance(feature, dict) else {} for name, feature in features.items()}
    except (ValueError, AttributeError):
        return {}


def _as_text(table: pa.Table, schema: pa.Schema, image: str, rows: int) -> pd.DataFrame:
    """Columns of plain values and lists as text; numbers of a ClassLabel by their names."""
    features, columns = _features(schema), {}
    for field in table.schema:
        if field.name == image or pa.types.is_struct(field.type) or pa.types.is_large_binary(field.type):
            continue
        if pa.types.is_binary(field.type):
            continue
        feature = features.get(field.name, {})
        names = feature.get("names") or (feature.get("feature") or {}).get("names")
        columns[field.name] = [as_text(_named(value, names)) for value in table[field.name].to_pylist()]
    return pd.DataFrame(columns, index=range(rows))


def _named(value: object, names: Sequence[str] | None) -> object:
    if not names:
        return value
    if isinstance(value, list):
        return [_named(one, names) for one in value]
    return names[value] if isinstance(value, int) and 0 <= value < len(names) else ""


def _parquet(shard: str, wanted: str) -> tuple[pa.Schema, pa.Table, str, list[tuple]]:
    """Schema, all columns but the image's bytes, the image column, and for each row (head, place, path)."""
    import pyarrow.parquet as pq

    with opened(shard) as file:
        table = pq.ParquetFile(file)
        schema = table.schema_arrow
        column = _image_column(schema, wanted, shard)
        kind = schema.field(column).type
        leaf, held = (f"{column}.bytes", kind.field("bytes").type) if pa.types.is_struct(kind) else (column, kind)
        others = [name for name in schema.names if name != column]
        rest = table.read(columns=others)
        if pa.types.is_string(kind) or pa.types.is_large_string(kind):
            return schema, rest, column, [(b"", None, path) for path in table.read([column])[column].to_pylist()]
        paths = _paths(table, column) if pa.types.is_struct(kind) else [""] * table.metadata.num_rows
        if pa.types.is_null(held):
            return schema, rest, column, [(b"", None, path) for path in paths]
        found = list(_parquet_places(table.metadata, table.schema, leaf, file))
    return schema, rest, column, [(*place, path) for place, path in zip(found, paths, strict=True)]


def _paths(table, column: str) -> list[str]:
    read = table.read(columns=[f"{column}.path"])[column].combine_chunks()
    return [(row or {}).get("path") or "" for row in read.to_pylist()]


def _parquet_places(metadata, schema, leaf: str, file) -> Iterator[Place]:
    number = [schema.column(i).path for i in range(len(schema))].index(leaf)
    described = schema.column(number)
    if described.max_repetition_level or described.physical_type != "BYTE_ARRAY":
        raise ValueError(f"column {leaf} holds {described.physical_type}, not one image a row")
    for group in range(metadata.num_row_groups):
        chunk = metadata.row_group(group).column(number)
        for value in values(file, chunk, described.max_definition_level):
            if value is None:
                yield b"", None
            elif value.block.codec:
                packing = (value.block.codec, len(value.block.data), value.inner)
                yield value.head(HEAD), (value.block.span, packing)
            else:
                yield value.head(HEAD), ((value.block.span[0] + value.inner[0], value.inner[1]), None)


def _arrow(shard: str, wanted: str) -> tuple[pa.Schema, pa.Table, str, list[tuple]]:
    """As `_parquet`, of an Arrow stream or file, whose values lie in it as they are."""
    whole = pa.py_buffer(read_bytes(shard)) if is_url(shard) else pa.memory_map(shard).read_buffer()
    try:
        table = pa.ipc.open_stream(whole).read_all()
    except pa.ArrowInvalid:
        table = pa.ipc.open_file(whole).read_all()
    column = _image_column(table.schema, wanted, shard)
    rest = table.drop_columns([column])
    places = [place for chunk in table[column].chunks for place in _arrow_places(chunk, whole)]
    return table.schema, rest, column, places


def _arrow_places(chunk: pa.Array, whole: pa.Buffer) -> Iterator[tuple]:
    kind = chunk.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        yield from ((b"", None, path) for path in chunk.to_pylist())
        return
    is_struct = pa.types.is_struct(kind)
    data = chunk.field("bytes") if is_struct else chunk
    paths = chunk.field("path").to_pylist() if is_struct else [""] * len(chunk)
    if pa.types.is_null(data.type):
        yield from ((b"", None, path) for path in paths)
        return
    present = pa.compute.is_valid(data).to_pylist()
    _, ends, block = data.buffers()
    width = 8 if pa.types.is_large_binary(data.type) else 4
    places = memoryview(ends).cast("q" if width == 8 else "i")
    for row, path in enumerate(paths):
        if not present[row]:
            yield b"", None, path
            continue
        start, end = places[data.offset + row], places[data.offset + row + 1]
        offset = block.address - whole.address + start
        if not 0 <= offset <= offset + end - start <= whole.size:
            raise ValueError("its buffers are compressed; save it again with datasets.save_to_disk")
        yield memoryview(block)[start : min(end, start + HEAD)].tobytes(), ((offset, end - start), None), path
