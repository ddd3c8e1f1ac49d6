"""The tables that an evaluation starts from, and what makes one dishonest: leaks, copies of files, too few images."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from gen.data.compose import attributes
from gen.data.index import load_table, read_index, typed
from gen.data.vocabulary import normalise_findings
from gen.errors import UserError

MINIMUM = 50  # images of either kind; below, no figure means anything
MANIFESTS = ("manifest.parquet", "manifest.csv", "prompts.csv", "index.parquet")
NAMES = ("image", "img_savename")
LABELS = ("view", "sex", "age", "findings")
LOOK_SIDE = 32  # pixels
INVERTED_BELOW = -0.2  # correlation with the mean radiograph; real ones lie above 0.2
FLAT = 4.0  # grey levels of 255: standard deviation of a blank image


def read_synthetic(path: str | Path) -> pd.DataFrame:
    """The manifest of a synthetic set (CSV, Parquet, or the folder with one): a row an image, with absolute paths.

    What view, sex, age and findings it leaves out is read from the prompt. Synthetic rows have no patient: each prompt
    is its own cluster.
    Errors: UserError for a missing file or column, an image twice, images that are not there.
    """
    path = manifest_of(Path(path))
    table = _renamed(load_table(path), path)
    if table.empty:
        raise UserError(f"{path}: no rows; draw images with cxr-sample first")
    _check_files(table, path)
    table = typed(_labelled(table), path)
    table["findings"] = [";".join(normalise_findings(text)) for text in table["findings"]]
    return table.reset_index(drop=True)


def read_real(path: str | Path, reference: str) -> pd.DataFrame:
    """The real index with every split; reference and train must be there.

    Errors: UserError for a patient in two splits and whatever else `read_index` refuses, and too few images.
    """
    table = read_index(path)
    for name, default in (("view", "UNKNOWN"), ("sex", ""), ("findings", ""), ("age", np.nan)):
        if name not in table:
            table[name] = default
    for split in dict.fromkeys((reference, "train")):
        count = int((table["split"] == split).sum())
        if count < MINIMUM:
            raise UserError(f"{path}: {count} images in split {split!r}; an evaluation needs at least {MINIMUM}")
    return table


def check_numbers(synthetic: pd.DataFrame, name: str | Path) -> None:
    """Raise UserError for fewer synthetic images than any figure can live on."""
    if len(synthetic) < MINIMUM:
        raise UserError(f"{name}: {len(synthetic)} images; an evaluation needs at least {MINIMUM}, and wants thousands")


def check_training(trained_on: pd.DataFrame, real: pd.DataFrame, reference: str, name: str | Path) -> None:
    """Raise UserError where a patient of the reference was in the generator's own training split."""
    seen = set(trained_on.loc[trained_on["split"] == "train", "patient_id"])
    shared = sorted(seen & set(real.loc[real["split"] == reference, "patient_id"]))
    if shared:
        raise UserError(
            f"{name}: the generator was trained on {len(shared)} patients of the split {reference!r} "
            f"(first: {shared[0]}); measure on patients that it has not seen"
        )


def check_files(real: pd.DataFrame, keys: Sequence[str], reference: str, made: set[str], name: str | Path) -> None:
    """Raise UserError for one file in two splits, or real files listed as synthetic.

    `keys` are the real rows' checksums, `made` the paths of the synthetic images.
    """
    taken = sorted(made & set(real["image"]))
    if taken:
        raise UserError(f"{name}: lists real radiographs as synthetic ({len(taken)}, first: {taken[0]}); correct it")
    splits = real["split"].to_numpy()
    of = lambda split: {key: row for row, key in enumerate(keys) if splits[row] == split}  # noqa: E731
    train, held_out = of("train"), of(reference)
    twice = sorted(set(train) & set(held_out)) if reference != "train" else []
    if twice:
        a, b = (real["image"].iloc[rows[twice[0]]] for rows in (train, held_out))
        raise UserError(
            f"{len(twice)} files are in train and in {reference} (first: {a} is {b}); "
            "cxr-index check finds them all, remove one of each"
        )


def check_looks(small: np.ndarray, real: np.ndarray, table: pd.DataFrame, name: str | Path) -> list[str]:
    """Remarks on blank and inverted synthetic images; raises UserError where most are.

    Shapes: small [N, s, s] uint8 synthetic, real [M, s, s] uint8.
    """
    blank = small.std((1, 2)) < FLAT
    mean = _standard(real.astype(np.float64).mean(0))
    likeness = np.array([float((_standard(image) * mean).mean()) for image in small.astype(np.float64)])
    remarks = []
    for what, wrong in (("blank", blank), ("inverted (dark bone)", ~blank & (likeness < INVERTED_BELOW))):
        if wrong.mean() > 0.5:
            first = table["image"].iloc[int(np.argmax(wrong))]
            remedy = "set its column inverted" if "inverted" in what else "draw them again"
            raise UserError(f"{name}: {int(wrong.sum())} of {len(wrong)} images look {what} (first: {first}); {remedy}")
        if wrong.any():
            first = Path(table["image"].iloc[int(np.argmax(wrong))]).name
            remarks.append(f"{int(wrong.sum())} of {len(wrong)} synthetic images look {what}, {first} first.")
    return remarks


def check_sizes(table: pd.DataFrame, name: str | Path) -> tuple[int, int]:
    """Width and height that all synthetic images have in common; reads only their headers.

    Errors: UserError where there are several sizes: a resized part would count as a difference in quality.
    """
    from PIL import Image

    sizes: dict[tuple[int, int], str] = {}
    for path in table["image"]:
        if Path(path).suffix.lower() in (".dcm", ".dicom"):
            continue
        try:
            with Image.open(path) as image:
                sizes.setdefault(image.size, path)
        except (OSError, SyntaxError, ValueError) as error:
            raise UserError(f"{path}: cannot read this image ({error}); draw or copy it again") from None
    if len(sizes) > 1:
        shown = ", ".join(f"{w} x {h} ({Path(path).name})" for (w, h), path in list(sizes.items())[:3])
        raise UserError(f"{name}: images of {len(sizes)} sizes: {shown}; evaluate one size at a time")
    return next(iter(sizes), (0, 0))


def manifest_of(path: Path) -> Path:
    """The table of a synthetic set, given itself or its folder. Errors: UserError where there is none."""
    if not path.is_dir():
        if not path.is_file():
            raise UserError(f"{path}: no such manifest; cxr-sample image writes one as manifest.csv")
        return path
    found = [path / name for name in MANIFESTS if (path / name).is_file()]
    if not found:
        raise UserError(f"{path}: neither {' nor '.join(MANIFESTS)} in this folder; give the table of the images")
    return found[0]


def _renamed(table: pd.DataFrame, path: Path) -> pd.DataFrame:
    column = next((name for name in NAMES if name in table), None)
    if column is None:
        raise UserError(f"{path}: neither column {' nor '.join(NAMES)}; rename the one that holds the image files")
    folder = path.parent.absolute()
    return table.assign(image=[os.path.normpath(folder / str(name)) for name in table[column]])


def _check_files(table: pd.DataFrame, path: Path) -> None:
    twice = table["image"].duplicated()
    if twice.any():
        raise UserError(f"{path}: row {int(np.argmax(twice)) + 1}: {table['image'][twice].iloc[0]} is listed before")
    for row, image in enumerate(table["image"], start=1):
        if not Path(image).is_file():
            raise UserError(f"{path}: row {row}: no such image file {image}; copy the images beside the manifest")


def _labelled(table: pd.DataFrame) -> pd.DataFrame:
    """The table with all of LABELS; an empty cell takes what the prompt says."""
    prompts = table["prompt"].fillna("") if "prompt" in table else pd.Series([""] * len(table), index=table.index)
    said = pd.DataFrame([attributes(prompt) for prompt in prompts], index=table.index)
    columns = {"prompt": prompts}
    for name in LABELS:
        given = table[name] if name in table else pd.Series([""] * len(table), index=table.index)
        empty = given.isna() | (given.astype(str).str.strip() == "")
        columns[name] = given.astype(object).where(~empty, said[name])
    return table.assign(**columns)


def _standard(image: np.ndarray) -> np.ndarray:
    return (image - image.mean()) / max(float(image.std()), 1e-6)
