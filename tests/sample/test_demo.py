"""The demo: enough radiographs, a sheet one can read, a page that stands alone."""

import re

import numpy as np
import pytest
from PIL import Image

from gen.data.compose import attributes
from gen.sample.contact import PAGE, TILE, Group, contact_sheet, wrap
from gen.sample.demo import PROMPTS, demo_items


@pytest.fixture
def demo(cxr_sample, tiny_pipeline_dir, tmp_path):
    def run(*arguments):
        return cxr_sample("demo", "--model", tiny_pipeline_dir, "--device", "cpu", "--out", tmp_path, *arguments)

    return run


def test_demo(demo, manifest, tmp_path):
    code, out, _ = demo("--steps", 1)
    assert code == 0
    assert out.splitlines() == [f"Look at {tmp_path / 'sheet.png'}", f"or open {tmp_path / 'index.html'}"]
    rows = manifest(tmp_path / "radiographs")
    assert len(rows) == 24 and len({row["prompt"] for row in rows}) == 12
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.width > 6 * TILE and sheet.height > 4 * TILE
    page = (tmp_path / "index.html").read_text()
    assert page.count("data:image/png;base64,") == 24 and "not for diagnosis" in page
    assert all(row["prompt"] in page and f"seed {row['seed']}" in page for row in rows)
    assert rows[0]["model_hash"] in page and not re.search(r"https?://", page)
    assert {path.name for path in tmp_path.iterdir()} == {"index.html", "sheet.png", "radiographs"}


def test_demo_draws_over_an_older_one(demo, manifest, tmp_path):
    assert demo("--steps", 1)[0] == demo("--steps", 2)[0] == 0
    assert {row["steps"] for row in manifest(tmp_path / "radiographs")} == {"2"}


def test_demo_shows_the_range():
    said = [attributes(prompt) for prompt in PROMPTS]
    assert len(demo_items()) == 24 and len({item.seed for item in demo_items()}) == 24
    assert {row["view"] for row in said} == {"PA", "AP"} and {"M", "F"} <= {row["sex"] for row in said}
    assert min(row["age"] for row in said) < 13 < 60 < max(row["age"] for row in said)
    findings = {label for row in said for label in row["findings"].split(";")}
    assert findings >= {"Cardiomegaly", "Pleural Effusion", "Pneumothorax", "Mass", "Nodule", "COVID-19", "No Finding"}


def test_sheet_shows_every_image():
    shades = [60, 90, 120, 150, 180, 210]
    images = [Image.new("L", (8, 8), shade) for shade in shades]
    groups = [Group(f"prompt {k}", "seeds", images[2 * k : 2 * k + 2]) for k in range(3)]
    pixels = np.asarray(contact_sheet(groups, "title", "footer", columns=2))
    for shade in shades:
        assert (pixels == shade).sum() >= TILE * TILE
    assert pixels[0, 0] == pixels[-1, -1] == PAGE


def test_long_labels_end_in_dots():
    lines = wrap("a widened mediastinum and " * 20, 21, 300, 2)
    assert len(lines) == 2 and lines[1].endswith("...") and not lines[0].endswith("...")
    assert wrap("short", 21, 300, 2) == ["short"]
    (single,) = wrap("x" * 200, 21, 300, 2)
    assert single.endswith("...") and len(single) < 60
