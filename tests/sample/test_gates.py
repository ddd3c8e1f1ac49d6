"""Quality gates: what they pass and why not, thresholds from real images, copies, prompt collapse, rejection table."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from gen.data.images import read_image, resize
from gen.data.index import write_index
from gen.errors import UserError
from gen.judges.lungs import LungSegmenter
from gen.judges.reader import Reader, Reading
from gen.models.classifier import RadiographClassifier
from gen.models.segmenter import ChestSegmenter
from gen.sample.calibration import calibrate, write_thresholds
from gen.sample.gates import (
    DemographicsGate,
    LabelGate,
    LookGate,
    Readings,
    Verdict,
    ViewGate,
    asked,
)
from gen.sample.gating import parse_gating
from gen.sample.job import Order, Worker
from gen.sample.memory import memory_gate
from gen.sample.parts import Parts, read_manifest
from gen.sample.plan import read_plan
from gen.sample.rejections import rejections, told
from gen.sample.request import Item
from gen.sample.similar import find_similar
from gen.sample.split import Shard
from gen.sample.store import Folder, open_store
from gen.sample.thresholds import Thresholds, read_thresholds

MEAN_CHEST = Path(__file__).parents[2] / "gen" / "data" / "mean_chest.png"


def item(prompt="Chest radiograph.", **more) -> Item:
    return Item(id="a", prompt=prompt, seed=0, **more)


def chest(seed=0, noise=8.0) -> np.ndarray:
    """The mean chest with broad noise of its own."""
    rng = np.random.default_rng(seed)
    base = resize(read_image(MEAN_CHEST), 64) * 255
    return np.clip(base + resize(rng.normal(0, noise, (16, 16)).astype(np.float32), 64), 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def reader() -> Reader:
    torch.manual_seed(0)
    labels = ("Cardiomegaly", "Pneumonia")
    return Reader(RadiographClassifier(labels, widths=(4, 8), blocks=(1, 1), features=8, resolution=32))


class Told(Readings):
    """Readings that are known: rows of (PA, female, age, cardiomegaly)."""

    def __init__(self, reader: Reader, *rows: tuple) -> None:
        super().__init__(reader)
        pa, female, age, heart = (torch.tensor(column, dtype=torch.float32) for column in zip(*rows, strict=True))
        zeros = torch.zeros(len(rows))
        view, findings = torch.stack([pa, 1 - pa, zeros], 1), torch.stack([heart, zeros], 1)
        self.known = Reading(findings, view, female, zeros, age, torch.zeros(len(rows), 8))

    def of(self, images: np.ndarray) -> Reading:
        return self.known


def verdicts(gate, *items: Item) -> list[Verdict]:
    return gate.check(np.zeros((len(items), 8, 8), np.uint8), items)


def test_what_is_asked_comes_from_the_item_or_its_prompt():
    said = asked(item("PA chest radiograph of a 60-year-old woman with cardiomegaly."))
    assert said == {"view": "PA", "sex": "F", "age": 60, "findings": ["Cardiomegaly"]}
    own = asked(item("Clear lungs.", view="AP", sex="M", age=3.0, findings="Pneumonia;Edema"))
    assert own == {"view": "AP", "sex": "M", "age": 3.0, "findings": ["Pneumonia", "Edema"]}


def test_view_gate(reader):
    gate = ViewGate(
        Told(reader, (0.9, 0, 0, 0), (0.01, 0, 0, 0), (0.01, 0, 0, 0), (0.01, 0, 0, 0)), Thresholds(view=0.1)
    )
    views = (item(view="PA"), item(view="PA"), item(view="AP SUPINE"), item(view=""))
    right, wrong, supine, silent = verdicts(gate, *views)
    assert right.passed and supine.passed and silent.passed
    assert not wrong.passed and wrong.reason == "asked for PA, looks AP" and wrong.score == pytest.approx(0.01)


def test_demographics_gate(reader):
    rows = ((0, 0.9, 60, 0), (0, 0.9, 60, 0), (0, 0.5, 20, 0), (0, 0.5, 99, 0))
    gate = DemographicsGate(Told(reader, *rows), Thresholds(sex=0.2, age=15))
    people = (item(sex="F", age=50.0), item(sex="M", age=50.0), item(sex="", age=50.0), item())
    right, man, young, silent = verdicts(gate, *people)
    assert right.passed and silent.passed
    assert man.reason == "sex M at 0.10" and young.reason == "age 50 looks 20" and not man.passed and not young.passed


def test_label_gate_knows_only_its_labels(reader):
    gate = LabelGate(
        Told(reader, (0, 0, 0, 0.8), (0, 0, 0, 0.1), (0, 0, 0, 0)), Thresholds(labels={"Cardiomegaly": 0.5})
    )
    wanted = (item(findings="Cardiomegaly"), item(findings="Cardiomegaly;Edema"), item(findings="Pneumonia"))
    right, missing, unknown = verdicts(gate, *wanted)
    assert right.passed and unknown.passed
    assert not missing.passed and missing.reason == "no Cardiomegaly" and missing.score == pytest.approx(-0.4)


def test_look_gate():
    flat, burnt = np.full((64, 64), 90, np.uint8), np.full((64, 64), 255, np.uint8)
    burnt[:20] = 0
    images = np.stack([chest(), flat, burnt, 255 - chest(), 255 - chest()])
    items = [item("PA chest radiograph.")] * 4 + [item("Lateral chest radiograph.")]
    said = LookGate().check(images, items)
    assert [verdict.reason for verdict in said] == ["", "blank", "saturated", "inverted", ""]
    assert [verdict.passed for verdict in said] == [True, False, False, False, True]


def test_sanity_gate_wants_lungs():
    torch.manual_seed(0)
    lungs = LungSegmenter(ChestSegmenter(widths=(4, 4), resolution=32))
    with torch.no_grad():
        lungs.network.out.weight.zero_()
        lungs.network.out.bias.fill_(-9.0)  # sees nothing anywhere
    assert [v.reason for v in LookGate(lungs).check(chest()[None], [item()])] == ["no lungs"]


@pytest.fixture
def real(tmp_path) -> Path:
    """An index of 60 radiographs of 60 patients."""
    rows = []
    for number in range(60):
        path = tmp_path / f"real{number}.png"
        Image.fromarray(chest(number, 30)).save(path)
        rows.append({"image": str(path), "patient_id": f"p{number}", "split": "train" if number < 40 else "val"})
    table = pd.DataFrame(rows).assign(view=["PA", "AP"] * 30, sex=["M", "F"] * 30, age=50.0)
    write_index(table.assign(findings=["Cardiomegaly", "No Finding"] * 30), tmp_path / "index.csv")
    return tmp_path / "index.csv"


def test_memory_gate_finds_copies_and_says_of_what(real, reader):
    gate = memory_gate("memory", real, reader, 1e-3)
    known = np.asarray(Image.open(real.parent / "real7.png"))
    darker = (known * 0.8 + 10).astype(np.uint8)
    images = np.stack([known, darker, chest(1001, 30), np.asarray(Image.open(real.parent / "real50.png"))])
    said = gate.check(images, [item()] * 4)
    assert [verdict.passed for verdict in said] == [False, False, True, True]
    assert "near training image real7.png" in said[0].reason and said[0].score < 0.1 < said[2].score


def test_memory_is_computed_once_an_index(real, reader):
    first = memory_gate("memory-pixels", real, None, 1e-3)
    stored = real.with_name("index.pixels.safetensors")
    stamp = stored.stat().st_mtime_ns
    again = memory_gate("memory-pixels", real, None, 1e-3)
    assert stored.stat().st_mtime_ns == stamp and again.settings == first.settings
    stored.write_bytes(stored.read_bytes()[:-8])  # damaged
    assert memory_gate("memory-pixels", real, None, 1e-3).settings == first.settings
    table = pd.read_csv(real, dtype=str)
    table.iloc[:-1].to_csv(real, index=False)
    assert memory_gate("memory-pixels", real, None, 1e-3).settings != first.settings


def test_thresholds_let_the_share_of_real_images_pass(real, reader, tmp_path):
    thresholds, lines = calibrate(reader, real, 0.9)
    write_thresholds(thresholds, tmp_path / "gates.yaml")
    assert read_thresholds(tmp_path / "gates.yaml") == thresholds
    table = pd.read_csv(real, dtype=str)
    table = table[table["split"] == "val"]
    images = np.stack([np.asarray(Image.open(real.parent / name)) for name in table["image"]])
    items = [item(view=view, sex=sex, age=50.0) for view, sex in zip(table["view"], table["sex"], strict=True)]
    for kind in (ViewGate, DemographicsGate):
        passed = [v.passed for v in kind(Readings(reader), thresholds).check(images, items)]
        assert 0.7 <= np.mean(passed) <= 1
    assert [line[0] for line in lines[1:]] == ["view", "sex", "age"]  # ten images of a finding are too few


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ("look,beauty", "--gates beauty: choose from look"),
        ("memory", "--train-index"),
        ("labels", "no threshold of any finding is known; make some with cxr-sample calibrate"),
        ("view", "no RadiographClassifier here"),
    ],
)
def test_gates_that_cannot_be_had_are_named(names, words, monkeypatch, tmp_path):
    monkeypatch.setattr("gen.judges.reader.SHIPPED_READER", tmp_path)
    with pytest.raises(UserError, match=words):
        parse_gating(names, None, None).load()


def test_unknown_thresholds_are_refused(tmp_path):
    (tmp_path / "gates.yaml").write_text("views: 0.5\n")
    with pytest.raises(UserError, match="unknown key 'views'"):
        read_thresholds(tmp_path / "gates.yaml")


class Odd(LookGate):
    """Rejects every other image."""

    def check(self, images, items):
        sums = images.reshape(len(images), -1).sum(1, dtype=np.int64)
        return [Verdict(bool(total % 2 == 0), float(total), f"odd {total}" if total % 2 else "") for total in sums]


def test_rejects_lie_aside_and_stand_in_the_table(tiny_pipeline, make_plan, tmp_path):
    plan = read_plan(make_plan(8))
    Worker(
        tiny_pipeline,
        plan,
        open_store(tmp_path / "set"),
        Order(steps=1, batch_size=4, max_tries=2),
        Shard(),
        [Odd()],
    ).draw()
    rows = read_manifest(Folder(tmp_path / "set")).to_pandas()
    bad = rows[rows["status"] != "accepted"]
    assert 0 < len(bad) < len(rows)
    for row in bad.to_dict("records"):
        assert row["file"].startswith("rejects/") and (tmp_path / "set" / row["file"]).is_file()
        assert json.loads(row["verdicts"])["look"]["reason"].startswith("odd ")
    share = len(bad) / len(rows)
    table = rejections(Folder(tmp_path / "set"))
    assert table == [("", f"all of {len(rows)} drawings", len(bad), share), ("look", "odd ...", len(bad), share)]
    written = pd.read_csv(tmp_path / "set" / "rejections.csv", keep_default_na=False)
    assert written["drawings"].tolist() == [len(bad)] * 2
    assert f"{(rows['status'] == 'given up').sum()} images were given up" in told(Folder(tmp_path / "set"))


def test_gates_are_part_of_what_a_set_is(tiny_pipeline, make_plan, tmp_path):
    plan, store = read_plan(make_plan(2)), open_store(tmp_path / "set")
    order = Order(steps=1, batch_size=2, gating=parse_gating("look", None, None))
    Worker(tiny_pipeline, plan, store, order, Shard(), order.gating.load()).draw()
    with pytest.raises(UserError, match="drawn with gates 'look', now ''"):
        Worker(tiny_pipeline, plan, store, order, Shard()).draw()


def stored_set(folder: Path, pictures: dict[str, np.ndarray], prompts: dict[str, str]) -> Folder:
    """A set of given pictures."""
    store = Folder(folder)
    rows = []
    for number, (name, picture) in enumerate(pictures.items()):
        (folder / "images").mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(folder / "images" / f"{name}.png")
        row = {"id": name, "try": 0, "status": "accepted", "prompt": prompts[name], "seed": number, "format": "png"}
        rows.append({**row, "file": f"images/{name}.png", "member": ""})
    Parts(store, Shard(), 1).add(rows)
    return store


def test_prompt_collapse_and_near_duplicates_are_told_apart(tmp_path):
    pictures = {"a": chest(0, 40), "b": chest(1, 40), "c": chest(2, 40), "d": chest(3, 40)}
    brighter = np.clip(pictures["a"] * 0.9 + 20, 0, 255).astype(np.uint8)
    store = stored_set(
        tmp_path / "set",
        {**pictures, "e": brighter, "f": pictures["b"]},
        {"a": "PA.", "b": "AP.", "c": "PA.", "d": "AP.", "e": "PA with effusion.", "f": "AP."},
    )
    found = find_similar(store)
    assert found.duplicates == [("b", "f")]
    assert [pair[:2] for pair in found.collapsed] == [("a", "e")] and "PROMPT COLLAPSE" in found.told()
    assert find_similar(store, most=3).compared == 3


def test_a_set_of_different_pictures_is_clean(tmp_path):
    pictures = {f"{number}": chest(number, 40) for number in range(12)}
    found = find_similar(stored_set(tmp_path / "set", pictures, dict.fromkeys(pictures, "PA.")))
    assert (found.duplicates, found.collapsed, found.compared) == ([], [], 12)
    assert "PROMPT COLLAPSE" not in found.told()
