"""Contrast of findings and change off the bones, on cases worked out by hand; and the command over a run's folder."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from gen.errors import UserError
from gen.eval.preservation import TOLERANCE, as_mask, contrasts, measure_preservation, off_bone, surroundings


def scene():
    """A finding of 0.2 on even ground with two kinds of stripes around it."""
    mask = np.zeros((60, 60), bool)
    mask[24:36, 24:36] = True
    image = np.full((60, 60), 0.4)
    image[mask] += 0.2
    return image, mask


def test_contrast_by_hand():
    image, mask = scene()
    striped = image.copy()
    striped[:, ::2] += 0.1  # bones: half of the columns, everywhere
    found = contrasts(striped, image, mask)
    assert found["contrast before"] == pytest.approx(0.2, abs=0.01)
    assert found["cnr before"] == pytest.approx(0.2 / 0.05, rel=0.1)  # their spread is 0.05
    assert found["contrast after"] == pytest.approx(0.2) and found["cnr after"] > 100


def test_a_finding_that_went_with_the_bones():
    image, mask = scene()
    noisy = image + 0.01 * np.random.default_rng(0).normal(size=image.shape)
    erased = noisy - 0.2 * mask
    found = contrasts(noisy, erased, mask)
    assert found["cnr before"] > 10 > 1 > found["cnr after"]
    assert contrasts(noisy, noisy, mask)["detail kept"] == pytest.approx(1)


def test_the_ring_lies_around_and_apart():
    _, mask = scene()
    ring = surroundings(mask)
    assert not (ring & mask).any() and not ring[23, 30] and ring[21, 30] and not ring[10, 30]


def test_change_off_the_bones_by_hand():
    before = np.full((10, 10), 0.5)
    soft, after = before.copy(), before.copy()
    soft[:5] -= 0.1  # bone in the upper half
    after[:5] -= 0.1
    assert off_bone(before, soft, after) == {"beyond": 0, "change": 0}
    after[9] -= 1.5 * TOLERANCE  # a fifth of the lower half
    found = off_bone(before, soft, after)
    assert found["beyond"] == pytest.approx(0.2) and found["change"] == pytest.approx(255 * 0.3 * TOLERANCE)


def test_boxes_are_cut_at_the_edge():
    assert as_mask((-3.0, 2.0, 4.0, 99.0), (10, 10)).sum() == 8 * 4


def test_a_run_over_radiographs_with_boxes(tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    rng, boxes, lines = np.random.default_rng(0), [], ["source,file"]
    for number in range(4):
        image, _ = scene()
        image = image + rng.normal(0, 0.02, image.shape)
        cxr = image.copy()
        cxr[:, ::3] += 0.1
        for place, picture in ((tmp_path / f"{number}.png", cxr), (run / f"{number}.png", image)):
            Image.fromarray(np.round(np.clip(picture, 0, 1) * 255).astype(np.uint8)).save(place)
        boxes.append(
            {"image": f"{number}.png", "label": "Nodule", "x0": 24, "y0": 24, "x1": 36, "y1": 36, "reader": ""}
        )
        lines.append(f"{tmp_path / f'{number}.png'},{number}.png")
    (run / "manifest.csv").write_text("\n".join(lines))
    rows = [f"{number}.png,p{number},test" for number in range(4)]
    (tmp_path / "index.csv").write_text("\n".join(["image,patient_id,split", *rows]))
    pd.DataFrame(boxes).to_parquet(tmp_path / "boxes.parquet")
    section = measure_preservation(run, tmp_path / "index.csv", draws=100)
    assert section.figure("cnr after").value > section.figure("cnr before").value
    assert section.figure("contrast after", "Nodule").value == pytest.approx(0.2, abs=0.02)
    assert section.verdicts[0].kind == "good" and section.tables[0].rows[1][0] == "Nodule"


def test_another_folder_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"manifest\.csv: no such manifest"):
        (tmp_path / "index.csv").write_text("image,patient_id,split\nx.png,p,test\n")
        measure_preservation(tmp_path, tmp_path / "index.csv")
