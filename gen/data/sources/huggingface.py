"""Hugging Face datasets: Parquet files, folders written by save_to_disk, names on the hub.

The image column holds {bytes, path} or plain bytes; an index row points to these bytes inside the Parquet or Arrow
file, or to the file at `path` where there are none. All other columns of text, numbers and lists can be mapped.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

import pandas as pd
import pyarrow as pa
from tqdm import tqdm

from gen.data.addresses import is_url, packed_part, part
from gen.data.images import IMAGE_SUFFIXES
from gen.data.sources.adapter import Tables
from gen.data.sources.columnar import Place, arrow, features_of, parquet
from gen.data.sources.mapping import as_text, completed, renamed
from gen.data.sources.shards import listed, split_of, suffix_of
from gen.errors import UserError

SUFFIXES = (".parquet", ".arrow")


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
        read_shard = parquet if shard.lower().endswith(".parquet") else arrow
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


def _address(shard: str, row: int, name: str, place: Place, rejected: list[tuple[str, str]]) -> str:
    """The address of one row's image, empty (and the reason told) where it has none."""
    given = PurePosixPath(place.path)
    if place.span is None:
        reason = _astray(given, shard) if place.path else "no image"
        if not reason:
            return place.path if is_url(place.path) else os.path.join(os.path.dirname(shard), place.path)
        rejected.append((f"{shard}#row={row}", reason))
        return ""
    suffix = suffix_of(place.head) or (given.suffix.lower() if given.suffix.lower() in (".dcm", ".dicom") else "")
    if not suffix:
        rejected.append((f"{shard}#row={row}", "bytes that are no image"))
        return ""
    title = given.stem if given.suffix.lower() in IMAGE_SUFFIXES else name
    if place.packing:
        return packed_part(shard, place.span, *place.packing, f"{title}{suffix}")
    return part(shard, *place.span, f"{title}{suffix}")


def _astray(path: PurePosixPath, shard: str) -> str:
    """Why a data set may not name such a file, or nothing; absolute paths only where `datasets` wrote them here."""
    astray = ".." in path.parts or (path.is_absolute() and not shard.endswith(".arrow"))
    return "its path leads out of the data set" if astray else ""


def _as_text(table: pa.Table, schema: pa.Schema, image: str, rows: int) -> pd.DataFrame:
    """Columns of plain values and lists as text; numbers of a ClassLabel by their names."""
    features, columns = features_of(schema), {}
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
