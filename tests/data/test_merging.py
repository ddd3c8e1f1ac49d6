"""Several indexes, stores and shares of sources in one training."""

import numpy as np
import pandas as pd
import pytest

from gen.data.annotations import beside, read_beside, write_boxes, write_events
from gen.data.dataset import CXRDataset, make_dataset, repeated
from gen.data.events import read_events
from gen.data.index import read_index, write_index
from gen.data.merging import merge_beside, merged
from gen.data.moments import MomentsStore, MomentsStores
from gen.errors import UserError
from gen.schema import DataConfig


@pytest.fixture
def two(table, tmp_path):
    """The same images cut in two: the second has a column of its own and paths that stay with it."""
    first, second = table.iloc[:2].assign(source="a"), table.iloc[2:].assign(source="b", angle=[0.0, 90.0])
    second["masks"], second["note"] = "masks/x.png", "mine"
    (tmp_path / "other").mkdir()
    places = tmp_path / "a.csv", tmp_path / "other" / "b.parquet"
    write_index(first, places[0])
    write_index(second, places[1])
    return places


def test_indexes_are_put_together(two, table, tmp_path):
    together, left_out = merged(two)
    assert left_out == ["masks"] and together["note"].tolist() == ["", "", "mine", "mine"]
    write_index(together, tmp_path / "all.parquet")
    again = read_index(tmp_path / "all.parquet")
    assert again["image"].tolist() == table["image"].tolist()
    assert again["angle"].isna().tolist() == [True, True, False, False]
    assert len(merged(two, may_ship_only=True)[0]) == table["may_ship"].sum()


def test_what_lies_beside_comes_too(two, tmp_path):
    """Events of either clock, boxes with their images' paths; only those of the rows that are kept."""
    first, second = (read_index(place) for place in two)
    ours, theirs = str(first["patient_id"].iloc[0]), str(second["patient_id"].iloc[0])
    own_clock = {"patient_id": [ours, "999"], "hour": [3.0, 1.0], "code": "drain", "value": 1.5, "unit": "ml"}
    pd.DataFrame(own_clock).to_parquet(beside(two[0], "events"))
    study_clock = {
        "patient_id": [theirs],
        "study_id": ["s1"],
        "hours": [-2.0],
        "kind": "lab",
        "name": "crp",
        "code": "17",
    }
    write_events([pd.DataFrame(study_clock)], two[1])
    box = {"label": "Mass", "x0": 1.0, "y0": 2.0, "x1": 3.0, "y1": 4.0, "reader": ""}
    write_boxes(pd.DataFrame([{"image": image, **box} for image in (*second["image"], "/gone.png")]), two[1])
    table, _ = merged(two)
    out = tmp_path / "deep" / "all.parquet"
    out.parent.mkdir()
    assert merge_beside(two, table, out) == ["events", "boxes"]
    events = read_events(beside(out, "events"))
    assert events[["patient_id", "study_id", "hour", "code"]].values.tolist() == [
        [ours, "", 3.0, "drain"],
        [theirs, "s1", -2.0, "lab crp"],
    ]
    assert events["value"].iloc[0] == 1.5 and events["unit"].iloc[0] == "ml"
    assert read_beside(out, "boxes")["image"].tolist() == second["image"].tolist()


def test_a_patient_in_two_splits_and_an_image_twice_are_refused(two, tmp_path):
    with pytest.raises(UserError, match="is listed before"):
        merged([two[0], two[0]])
    moved = read_index(two[0]).assign(split="test")
    moved["image"] = [f"{image}.png" for image in moved["image"]]
    write_index(moved, tmp_path / "moved.csv")
    with pytest.raises(UserError, match="patient '007' is in the splits test and train"):
        merged([two[0], tmp_path / "moved.csv"])


def test_stores_are_read_as_one(tmp_path):
    for name, keys, variants in (("one", ["a", "b"], 3), ("two", ["c"], 1)):
        store = MomentsStore.create(tmp_path / name, keys, (variants, 2, 1, 1), name, [0.0])
        for row in range(len(keys)):
            store.write(row, np.full((variants, 2, 1, 1), ord(keys[row])))
    stores = MomentsStores([tmp_path / "one", tmp_path / "two"])
    assert stores.variants == 1 and [int(stores[key, 0][0, 0, 0]) for key in "abc"] == [97, 98, 99]
    assert stores.missing(["a", "c", "d"]) == ["d"]
    stores.check_holds(["a", "b", "c"])
    with pytest.raises(UserError, match="first: d"):
        stores.check_holds(["a", "d"])
    with pytest.raises(UserError, match="another codec"):
        stores.check_codec([1.0])
    MomentsStore.create(tmp_path / "three", ["x"], (1, 4, 1, 1), "three", [0.0])
    with pytest.raises(UserError, match="another shape"):
        MomentsStores([tmp_path / "one", tmp_path / "three"])


def test_a_data_set_reads_two_stores(table, tmp_path):
    rows = table.assign(source="here")
    keys = CXRDataset(rows, 16).keys
    for name, part in (("one", keys[:3]), ("two", keys[3:])):
        store = MomentsStore.create(tmp_path / name, part, (1, 2, 1, 1), name, [0.0])
        for row, key in enumerate(part):
            store.write(row, np.full((1, 2, 1, 1), keys.index(key)))
    dataset = CXRDataset(rows, 16, [tmp_path / "one", tmp_path / "two"])
    assert [int(dataset[row, row]["moments"][0, 0, 0]) for row in range(4)] == [0, 1, 2, 3]


def test_a_small_source_comes_more_often(two, tmp_path):
    table = merged(two)[0].assign(split="train")
    assert repeated(table, {"b": 3})["source"].value_counts().to_dict() == {"a": 2, "b": 6}
    assert repeated(table, {}) is table
    with pytest.raises(UserError, match=r"data.repeat: no rows of source 'c' \(found: a, b\)"):
        repeated(table, {"c": 2})
    write_index(table, tmp_path / "all.csv")
    config = DataConfig(index=tmp_path / "all.csv", resolution=16, repeat={"b": 2})
    assert len(make_dataset(config, "train", 0)) == 6
    write_index(table.assign(split="val"), tmp_path / "all.csv")
    assert len(make_dataset(config, "val", 0)) == 4  # held-out rows are counted once


def test_the_command(two, tmp_path, monkeypatch, capsys):
    from gen.data import cli

    monkeypatch.setattr("sys.argv", ["cxr-index", "merge", *map(str, two), "--out", str(tmp_path / "all.csv")])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert not end.value.code and "without the columns masks" in capsys.readouterr().out
    assert len(pd.read_csv(tmp_path / "all.csv")) == 4
