"""The page with an index of what its model was trained on: beside each drawing stands the nearest of them."""

import re
import zipfile
from pathlib import Path

import pandas as pd
import pytest

HOSPITAL = Path(__file__).parents[2] / "notebooks" / "hospital.zip"
NEAREST = "[...document.querySelectorAll('#text-nearest .caption-label')].map(e => e.innerText)"
STEPS = 2


@pytest.fixture(scope="module")
def index(tmp_path_factory, tiny_pipeline_dir):
    """Phantoms of both splits, and in the train split what the model draws from the first seed."""
    from gen import CXRPipeline
    from gen.app.text_tab import EXAMPLES
    from gen.data.index import write_index

    folder = tmp_path_factory.mktemp("trained")
    with zipfile.ZipFile(HOSPITAL) as archive:
        names = [name for name in archive.namelist() if name.endswith(".jpg")][:24]
        archive.extractall(folder, names)
    drawn = CXRPipeline.from_pretrained(tiny_pipeline_dir)(next(iter(EXAMPLES.values())), steps=STEPS, progress=False)
    drawn.images[0].save(folder / "learnt.png")
    rows = pd.DataFrame({"image": [*(str(folder / name) for name in names), str(folder / "learnt.png")]})
    rows["patient_id"] = [f"P{row}" for row in rows.index]
    rows["split"] = ["test"] * 8 + ["train"] * (len(rows) - 8)
    write_index(rows, folder / "index.parquet")
    return folder / "index.parquet"


def test_the_nearest_training_image_of_each_drawing_is_shown_with_its_distance(page):
    page.number("#steps", STEPS)
    page.click("#draw")
    images = "[...document.querySelectorAll('#text-nearest img')]"
    page.wait(f"{images}.length == 2 && {images}.every(e => e.complete && e.naturalWidth == 128)")
    captions = page.run(NEAREST)
    assert all(re.fullmatch(r"real, [\w.]+: \d+\.\d x the limit, (no copy|TOO NEAR: a copy\?)", c) for c in captions)
    assert captions[0] == "real, learnt.png: 0.0 x the limit, TOO NEAR: a copy?"
