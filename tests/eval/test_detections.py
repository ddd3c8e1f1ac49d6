"""Boxes read off maps and judged, on cases worked out by hand; and where true boxes come from."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from gen.errors import UserError
from gen.eval.boxes import (
    MOST,
    UNKNOWN,
    BoxedImages,
    box_counts,
    box_truth,
    drawn_boxes,
    filled,
    is_known,
    labelled_where_drawn,
    on_square,
)
from gen.eval.detections import average_precision, detect, iou, judged, matches, sensitivity


def truth_of(*images):
    """Boxes of one finding in several images; None is not known. Shapes: -> [N, 1, MOST, 4]."""
    truth = np.full((len(images), 1, MOST, 4), np.nan, np.float32)
    for number, boxes in enumerate(images):
        if boxes is None:
            truth[number] = UNKNOWN
        elif boxes:
            truth[number, 0, : len(boxes)] = boxes
    return truth


def test_iou_by_hand():
    first = np.array([[0, 0, 2, 2], [5, 5, 6, 6]])
    second = np.array([[1, 1, 3, 3], [0, 0, 2, 1]])
    np.testing.assert_allclose(iou(first, second), [[1 / 7, 1 / 2], [0, 0]])


def test_a_true_box_is_hit_once_and_by_the_surest():
    true = np.array([[0, 0, 0.5, 0.5]])
    found = np.array([[0, 0, 0.5, 0.4, 0.6], [0, 0, 0.5, 0.5, 0.9], [0.6, 0.6, 1, 1, 0.95]])
    assert matches(found, true, 0.3).tolist() == [False, True, False]
    assert matches(found[:1], true, 0.8).tolist() == [True] and matches(found[:1], true, 0.81).tolist() == [False]
    assert not matches(found, true[:0], 0.1).any()


def test_regions_of_a_map_are_boxes():
    maps = np.zeros((1, 2, 10, 20 // 2), np.float32)
    maps[0, 0, 2:4, 1:5] = 0.8
    maps[0, 0, 7:9, 6:9] = 0.5
    maps[0, 0, 5, 5] = 0.3  # below half of the peak
    found = detect(maps)[0]
    np.testing.assert_allclose(found[0, :2], [[0.1, 0.2, 0.5, 0.4, 0.8], [0.6, 0.7, 0.9, 0.9, 0.5]], rtol=1e-6)
    assert np.isnan(found[0, 2]).all() and np.isnan(found[1]).all()


@pytest.fixture
def scene():
    """Four images of one finding: hit surely, missed, an alarm where there is none, not known."""
    box = (0.0, 0.0, 0.5, 0.5)
    truth = truth_of([box], [box], [], None)
    found = np.full((4, 1, 3, 5), np.nan, np.float32)
    found[0, 0, 0] = (*box, 0.9)
    found[0, 0, 1] = (0.6, 0.6, 0.9, 0.9, 0.5)
    found[1, 0, 0] = (0.0, 0.0, 0.5, 0.2, 0.4)  # IoU 0.4
    found[2, 0, 0] = (*box, 0.8)
    found[3, 0, 0] = (*box, 0.99)  # nothing is known there
    return judged(found, truth)[:, 0], truth[:, 0]


def test_average_precision_by_hand(scene):
    # surest first: hit, alarm, alarm, hit at IoU 0.3 only; two true boxes
    assert average_precision(0.3, *scene) == pytest.approx((1 + 2 / 4) / 2)
    assert average_precision(0.5, *scene) == pytest.approx(1 / 2)
    twice = np.array([[1, 1, 2, 1], [0, 1, 1, 5], [0, 0, 1, 1]])
    expected = [(1 + 2 / 5) / 2, 1 / 2, np.nan]
    np.testing.assert_allclose(average_precision(0.3, *scene, twice), expected)


def test_sensitivity_by_hand(scene):
    assert sensitivity(0.3, *scene) == 1  # two alarms in three known images
    assert sensitivity(0.5, *scene) == 0.5
    # image 3 four times: four alarms of 0.8 before any further hit, in six images
    assert sensitivity(0.3, *scene, np.array([[1, 1, 4, 0]]))[0] == 1
    crowd = scene[0][[0, 2]].copy()
    crowd[1] = (0.95, 0, 0, 0)  # three alarms surer than the hit, in two images
    assert sensitivity(0.3, crowd, scene[1][[0, 2]]) == 0


def test_nothing_found_is_nothing_hit(scene):
    empty = np.full_like(scene[0], np.nan)
    assert average_precision(0.3, empty, scene[1]) == 0 and sensitivity(0.3, empty, scene[1]) == 0


def test_boxes_on_the_square_and_as_maps():
    assert on_square((10, 0, 20, 99), 40, 20) == (0.5, 0, 0.75, 1)
    maps = filled(truth_of([(0.25, 0, 0.5, 0.5)], None, [(0.999, 0.999, 1, 1)]), 8)
    assert maps[0, 0, :4, 2:4].all() and maps[0].sum() == 8 and maps[1].sum() == 0
    assert maps[2].sum() == maps[2, 0, 7, 7] == 1


@pytest.fixture
def boxed(tmp_path):
    """Rows and a boxes table as NIH names them: a box, a label without a box, no finding, nothing told."""
    for name in "abcd":
        Image.fromarray(np.full((20, 40), 90, np.uint8)).save(tmp_path / f"{name}.png")
    boxes = [{"image": "a.png", "label": "Effusion", "x0": 0, "y0": 0, "x1": 20, "y1": 10, "reader": ""}]
    pd.DataFrame(boxes).to_parquet(tmp_path / "boxes.parquet")
    images = [str(tmp_path / f"{name}.png") for name in "abcd"]
    findings = ["Pleural Effusion;Mass", "Pleural Effusion", "No Finding", ""]
    return pd.DataFrame({"image": images, "findings": findings, "source": "nih"}), tmp_path / "index.parquet"


def test_what_a_table_of_boxes_tells(boxed):
    rows, index = boxed
    boxes = drawn_boxes(rows, index)
    truth = box_truth(rows, boxes, ["Pleural Effusion", "Mass"])
    np.testing.assert_allclose(truth[0, 0, 0], [0, 0.25, 0.5, 0.5])
    assert is_known(truth).tolist() == [[True, False], [False, False], [True, False], [False, False]]
    assert box_counts(truth)[:, 0].tolist() == [1, 0, 0, 0]
    assert labelled_where_drawn(rows, boxes).tolist() == [True, True, True, False]
    elsewhere = rows.assign(source=["nih", "covid", "covid", "nih"])
    assert labelled_where_drawn(elsewhere, boxes).tolist() == [True, False, False, False]


def test_a_batch_of_boxes(boxed):
    import torch

    truth = box_truth(boxed[0], drawn_boxes(*boxed), ["Pleural Effusion"])
    batch = BoxedImages(torch.zeros(4, 1, 8, 8, dtype=torch.uint8), truth, list("abcd")).batch([0, 1, 2])
    assert batch["mask"].sum((1, 2, 3)).tolist() == [8, 0, 0] and batch["known"].mean((1, 2, 3)).tolist() == [1, 0, 1]
    assert batch["image"].max() == -1 and batch["key"] == ["a", "b", "c"]


def test_without_a_table(boxed):
    boxed[1].with_name("boxes.parquet").unlink()
    with pytest.raises(UserError, match=r"boxes.parquet: no boxes beside this index"):
        drawn_boxes(*boxed)
