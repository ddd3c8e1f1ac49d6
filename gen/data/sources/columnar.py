"""Parquet and Arrow files as text columns beside the places of their images."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import pyarrow as pa

from gen.data.addresses import is_url, read_bytes
from gen.data.parquet_pages import values
from gen.data.sources.shards import HEAD, opened
from gen.errors import UserError

IMAGE_NAMES = ("image", "img", "png", "jpg", "jpeg", "pixels", "dicom")
Span = tuple[int, int]  # first byte and number of bytes


class Place(NamedTuple):
    """Where one row's image is: first bytes, span in the file, how that is packed, and the file that the row names."""

    head: bytes = b""
    span: Span | None = None
    packing: tuple[str, int, Span] | None = None  # codec, unpacked bytes, span inside
    path: str = ""


def image_column(schema: pa.Schema, wanted: str, shard: str) -> str:
    """The column asked for, or the one that the data set's features, its shape or its name call an image.

    Errors: UserError where there is none.
    """
    features = features_of(schema)
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


def features_of(schema: pa.Schema) -> dict:
    """What `datasets` writes about the columns, empty for other writers."""
    try:
        written = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
        features = written.get("info", {}).get("features") or {}
        return {name: feature if isinstance(feature, dict) else {} for name, feature in features.items()}
    except (ValueError, AttributeError):
        return {}


def parquet(shard: str, wanted: str) -> tuple[pa.Schema, pa.Table, str, list[Place]]:
    """Schema, all columns but the image's bytes, the image column, and the place of each row's image."""
    import pyarrow.parquet as pq

    with opened(shard) as file:
        table = pq.ParquetFile(file)
        schema = table.schema_arrow
        column = image_column(schema, wanted, shard)
        kind = schema.field(column).type
        leaf, held = (f"{column}.bytes", kind.field("bytes").type) if pa.types.is_struct(kind) else (column, kind)
        others = [name for name in schema.names if name != column]
        rest = table.read(columns=others)
        if pa.types.is_string(kind) or pa.types.is_large_string(kind):
            return schema, rest, column, _files(table.read([column])[column].to_pylist())
        paths = _paths(table, column) if pa.types.is_struct(kind) else [""] * table.metadata.num_rows
        if pa.types.is_null(held):
            return schema, rest, column, _files(paths)
        found = list(_parquet_places(table.metadata, table.schema, leaf, file))
    return schema, rest, column, [place._replace(path=path) for place, path in zip(found, paths, strict=True)]


def _files(paths: Sequence[str | None]) -> list[Place]:
    return [Place(path=path or "") for path in paths]


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
                yield Place()
            elif value.block.codec:
                packing = (value.block.codec, len(value.block.data), value.inner)
                yield Place(value.head(HEAD), value.block.span, packing)
            else:
                yield Place(value.head(HEAD), (value.block.span[0] + value.inner[0], value.inner[1]))


def arrow(shard: str, wanted: str) -> tuple[pa.Schema, pa.Table, str, list[Place]]:
    """As `_parquet`, of an Arrow stream or file, whose values lie in it as they are."""
    whole = pa.py_buffer(read_bytes(shard)) if is_url(shard) else pa.memory_map(shard).read_buffer()
    try:
        table = pa.ipc.open_stream(whole).read_all()
    except pa.ArrowInvalid:
        table = pa.ipc.open_file(whole).read_all()
    column = image_column(table.schema, wanted, shard)
    rest = table.drop_columns([column])
    places = [place for chunk in table[column].chunks for place in _arrow_places(chunk, whole)]
    return table.schema, rest, column, places


def _arrow_places(chunk: pa.Array, whole: pa.Buffer) -> Iterator[Place]:
    kind = chunk.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        yield from _files(chunk.to_pylist())
        return
    is_struct = pa.types.is_struct(kind)
    data = chunk.field("bytes") if is_struct else chunk
    paths = chunk.field("path").to_pylist() if is_struct else [""] * len(chunk)
    if pa.types.is_null(data.type):
        yield from _files(paths)
        return
    present = pa.compute.is_valid(data).to_pylist()
    _, ends, block = data.buffers()
    width = 8 if pa.types.is_large_binary(data.type) else 4
    places = memoryview(ends).cast("q" if width == 8 else "i")
    for row, path in enumerate(paths):
        if not present[row]:
            yield Place(path=path or "")
            continue
        start, end = places[data.offset + row], places[data.offset + row + 1]
        offset = block.address - whole.address + start
        if not 0 <= offset <= offset + end - start <= whole.size:
            raise ValueError("its buffers are compressed; save it again with datasets.save_to_disk")
        head = memoryview(block)[start : min(end, start + HEAD)].tobytes()
        yield Place(head, (offset, end - start), path=path or "")
