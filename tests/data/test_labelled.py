"""What an index knows about its images, and what it does not say."""

import math

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from gen.data.labelled import (
    CHILD_AGE,
    UNKNOWN,
    finding_targets,
    frequent_labels,
    known_by_source,
    load_labelled,
    view_number,
)

LABELS = ("No Finding", "Cardiomegaly", "Pneumonia")


def table():
    rows = [("A", "No Finding")] * 12 + [("A", "Cardiomegaly;Pleural Effusion")] * 11 + [("A", "")] * 3
    rows += [("B", "COVID-19")] * 30 + [("C", "Viral Pneumonia")] * 15 + [("C", "No Finding")] * 12
    return pd.DataFrame(rows, columns=["source", "findings"])


def test_a_source_speaks_of_what_some_of_its_images_have_and_some_have_not():
    known = known_by_source(table(), least=10)
    assert known["A"] == ("Cardiomegaly", "No Finding", "Pleural Effusion")
    assert known["B"] == ()  # all have it: a network would learn the hospital
    assert known["C"] == ("No Finding", "Pneumonia", "Viral Pneumonia")
    assert frequent_labels(table(), known, least=12) == ("No Finding", "Pneumonia", "Viral Pneumonia")


def test_targets_are_unknown_where_a_source_is_silent():
    rows = table()
    targets = finding_targets(rows, LABELS, known_by_source(rows))
    by_source = {name: targets[(rows["source"] == name).to_numpy()] for name in "ABC"}
    assert by_source["A"][0].tolist()[:2] == [1, 0] and math.isnan(by_source["A"][0][2])
    assert by_source["A"][12].tolist()[:2] == [0, 1]
    assert by_source["A"][23:].isnan().all() and by_source["B"].isnan().all()
    assert by_source["C"][0][2] == 1 and by_source["C"][20].tolist()[::2] == [1, 0] and by_source["C"][0][1].isnan()
    assert not finding_targets(rows, LABELS)[26:].isnan().any()  # without that knowledge all is told


def test_a_supine_view_counts_as_ap_where_the_list_has_no_other():
    views = ("PA", "AP", "LATERAL")
    assert [view_number(view, views) for view in ("PA", "AP SUPINE", "LATERAL", "UNKNOWN", "")] == [
        0,
        1,
        2,
        UNKNOWN,
        -1,
    ]
    assert view_number("AP SUPINE", ("AP", "AP SUPINE")) == 1


@pytest.fixture
def images(tmp_path):
    rows = []
    for number in range(4):
        path = tmp_path / f"{number}.png"
        Image.fromarray(np.full((20, 10), 60 * number, dtype=np.uint8)).save(path)
        rows.append({"image": str(path), "patient_id": f"p{number // 2}", "source": "A", "inverted": number == 3})
    rows = pd.DataFrame(rows).assign(findings=["Cardiomegaly", "", "No Finding", ""], sex=["F", "M", "", "F"])
    rows["view"], rows["age"], rows["age_group"] = (
        ["PA", "AP", "", "LATERAL"],
        [50.0, 7.0, math.nan, math.nan],
        ["", "", "child", ""],
    )
    return load_labelled(rows, LABELS, ("PA", "AP"), 16)


def test_images_and_targets(images):
    assert images.images.shape == (4, 1, 16, 16) and images.images.dtype == torch.uint8
    assert images.images[:, 0, 8, 8].tolist() == [0, 60, 120, 75]  # the last is stored with dark bone
    assert images.images[2, 0, :, 0].max() == 0  # padding
    assert images.view.tolist() == [0, 1, -1, -1]
    assert images.sex.nan_to_num(9).tolist() == [1, 0, 9, 1]
    assert images.child.nan_to_num(9).tolist() == [0, 1, 1, 9]
    assert images.age.nan_to_num(-9).tolist() == [50, 7, CHILD_AGE, -9]
    assert images.patients == ["p0", "p0", "p1", "p1"]


def test_batches_parts_and_sums(images):
    batch = images.batch([2, 0])
    assert batch["image"].dtype == torch.float32 and batch["image"][0, 0, 8, 8].item() == pytest.approx(120 / 127.5 - 1)
    assert batch["view"].tolist() == [-1, 0] and batch["key"][1] == "A::0.png"
    twice = images + images.select([1])
    assert len(twice) == 5 and twice.keys[4] == images.keys[1] and twice.age[4] == 7
