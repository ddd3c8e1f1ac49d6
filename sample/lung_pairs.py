"""cxr-sample lung-pairs: an index of bone suppression, and the same pairs within the lungs, as GL-LCM trains on."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gen.errors import UserError

from .bone_cli import Lungs

if TYPE_CHECKING:
    import pandas as pd

    from gen.calls.bone_dual import Segments


def lung_pairs(
    index: Annotated[Path, typer.Argument(help="index with soft-tissue images (column soft)")],
    out: Annotated[Path, typer.Option(help="folder of the new set; run the same command again to go on")],
    lungs: Lungs = None,
) -> None:
    """Add to training and validation pairs the same pairs within the lungs, black elsewhere (arXiv 2508.03357).

    The mask is as wide as GL-LCM's. Pairs of the split test stay as they are.
    """
    import pandas as pd

    from gen.data.index import read_index, write_index
    from gen.data.pairs import paired_rows
    from gen.judges.pspnet import lung_segmenter

    rows = paired_rows(read_index(index))
    seen = rows[rows["split"] != "test"]
    if seen.empty:
        raise UserError(f"{index}: no row of split 'train' or 'val' has an image in column 'soft'; give pairs")
    inside = within_lungs(seen, out, lung_segmenter(lungs))
    write_index(pd.concat([rows, inside], ignore_index=True), out / "index.parquet")
    typer.echo(f"{len(rows)} pairs and {len(inside)} of them within the lungs; wrote {out / 'index.parquet'}")


def within_lungs(rows: pd.DataFrame, out: Path, segmenter: Segments) -> pd.DataFrame:
    """Write every pair within its radiograph's lungs, where it is not there yet; returns the new rows."""
    import pandas as pd
    from tqdm import tqdm

    made = []
    for record in tqdm(rows.to_dict("records"), desc="pairs within the lungs", unit="", disable=None):
        name = f"{Path(record['image']).stem}_{sha256(record['image'].encode()).hexdigest()[:8]}.png"
        places = {column: out / part / name for column, part in (("image", "images"), ("soft", "soft"))}
        if not all(place.is_file() for place in places.values()):
            _write(record, places, segmenter)
        made.append({**record, **{column: str(place.absolute()) for column, place in places.items()}})
    return pd.DataFrame(made)


def _write(record: dict, places: dict[str, Path], segmenter: Segments) -> None:
    import torch

    from gen.calls.bone_dual import LUNGS
    from gen.data.images import read_image
    from gen.data.pair_looks import save_picture

    pair = {column: read_image(record[column]) for column in places}
    pixels = torch.from_numpy(2 * pair["image"] - 1)[None, None]
    lungs = segmenter.masks(pixels)[0, 0].numpy() > LUNGS
    for column, place in places.items():
        if pair[column].shape != lungs.shape:
            raise UserError(f"{record['soft']}: another size than its radiograph {record['image']}; mend the pair")
        save_picture(pair[column] * lungs, place)
