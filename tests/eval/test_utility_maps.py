"""Segmentation and detection gains where the answer is known: true masks and boxes must beat shuffled ones."""

import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from gen.data.annotations import write_boxes, write_masks
from gen.data.index import read_index
from gen.data.segmented import UNKNOWN
from gen.errors import UserError
from gen.eval import utility
from gen.eval.boxes import box_truth, drawn_boxes, is_known
from gen.eval.context import Context
from gen.eval.section import NotMeasurable
from gen.eval.utility_maps import mask_scores
from gen.eval.utility_material import material
from gen.eval.utility_plan import REAL, SHUFFLED, UtilityConfig
from gen.eval.utility_study import run_study
from gen.eval.utility_targets import target_of
from gen.phantom.cohort import Plan, prepare_folder, read_mask, write_patient, write_tables

SIDE = 32
MASKS = UtilityConfig(
    target="masks",
    names=("lungs", "heart"),
    backbone="unet",
    widths=(12, 24, 24),
    patch=2,
    resolution=SIDE,
    steps=60,
    batch_size=8,
    learning_rate=5e-3,
    seeds=1,
    settings=("real", "synthetic", "real + synthetic", "real + shuffled synthetic"),
    splits=("test",),
    least=5,
    corrupted=False,
)
BOXES = MASKS.model_copy(update={"target": "boxes", "names": (), "steps": 80})


def phantoms(folder, count, seed):
    plan = Plan(count, seed, 64, ("PA",), 0.0)
    prepare_folder(plan, folder)
    for patient in plan.patients():
        write_patient(plan, folder, *patient)
    write_tables(plan, folder)
    return read_index(folder / "index.parquet")


@pytest.fixture(scope="module")
def chests(tmp_path_factory):
    """Phantoms as real ones, few of them to train on, and those of another seed as synthetic ones."""
    folder = tmp_path_factory.mktemp("chests")
    real = phantoms(folder / "real", 12, 1).assign(split=["train"] * 3 + ["test"] * 9)
    synthetic = phantoms(folder / "made", 24, 2)
    return context_of(folder, real, synthetic, folder / "real/index.parquet", folder / "made/index.parquet")


def context_of(folder, real, synthetic, real_index, synthetic_index):
    indices = {"real_index": real_index, "synthetic_index": synthetic_index}
    return Context(real, synthetic, [], folder, folder / "cache", say=lambda text: None, **indices)


def squares(folder, count, seed):
    """Bright squares anywhere on noise, named Mass in two images of three, with their boxes."""
    folder.mkdir()
    generator, rows, boxes = np.random.default_rng(seed), [], []
    for number in range(count):
        image = generator.normal(90, 20, (SIDE, SIDE))
        path = str(folder / f"{number}.png")
        if number % 3:
            x, y, size = *generator.integers(0, SIDE - 12, 2), int(generator.integers(8, 12))
            image[y : y + size, x : x + size] += 90
            box = {"x0": x, "y0": y, "x1": x + size, "y1": y + size}
            boxes.append({"image": path, "label": "Mass", "reader": "", **box})
        Image.fromarray(np.clip(image, 0, 255).astype(np.uint8)).save(path)
        rows.append({"image": path, "findings": "Mass" if number % 3 else "No Finding"})
    write_boxes(pd.DataFrame(boxes), folder / "index.parquet")
    rows = pd.DataFrame(rows).assign(view="PA", source="here", patient_id=[f"{seed}-{n}" for n in range(count)])
    return rows.assign(split="train"), folder / "index.parquet"


@pytest.fixture(scope="module")
def lesions(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lesions")
    (real, real_index), (made, made_index) = squares(folder / "real", 48, 0), squares(folder / "made", 60, 1)
    real.loc[6:, "split"] = "test"
    return context_of(folder, real, made, real_index, made_index)


def test_dice_by_hand():
    maps, masks = torch.zeros(2, 2, 4, 4), np.zeros((2, 2, 4, 4), np.uint8)
    maps[0, 0, :2] = 1  # 8 found
    masks[0, 0, 1:3] = 1  # 8 true, 4 shared
    masks[0, 0, 0, :2] = 255  # two of those found are not known: 2 x 4 / (6 + 8)
    maps[0, 1, 0] = 1  # none is there: nothing to be scored
    masks[1, 1, 0] = 1
    np.testing.assert_allclose(mask_scores(maps, masks), [[8 / 14, np.nan], [np.nan, 0]], rtol=1e-6)


def test_right_masks_beat_shuffled_ones(chests):
    study = run_study(chests, MASKS)
    section = utility.summary(study, 200, 0)
    dice = {setting: section.figure("mean Dice", setting) for setting in study.scores}
    assert dice["real + synthetic"].value > 0.8 and dice["real + synthetic"].n == 9
    assert dice["real + synthetic"].control == dice[SHUFFLED].value
    figure = utility.main_figure(study)[1]
    assert utility.gain(study, "real + synthetic", SHUFFLED, study.tests[0], figure, 200, 0).low > 0
    each = np.concatenate([run["in-domain"] for run in study.scores[REAL]])
    assert dice[REAL].value == pytest.approx(np.nanmean(each, 0).mean(), rel=1e-5)
    iou = section.figure("mean IoU", REAL)
    assert iou.value == pytest.approx(np.mean(each / (2 - each)), rel=1e-5)
    assert section.title == "Gain of a downstream segmenter" and len(section.plots) == 1
    assert [row[:2] for row in section.tables[1].rows] == [("lungs", "9"), ("heart", "9")]
    assert study.sizes["real + synthetic"] == (3, 24)


def test_right_boxes_beat_shuffled_ones(lesions):
    study = run_study(lesions, BOXES)
    section = utility.summary(study, 200, 0)
    right, wrong = (section.figure("AP at IoU 0.3", name).value for name in ("real + synthetic", SHUFFLED))
    assert right > 0.8 > 0.5 > wrong
    assert section.figure("AP at IoU 0.1", SHUFFLED).value >= wrong
    assert section.verdicts[1].kind == "good" and "shuffled boxes" in section.verdicts[1].text
    assert section.tables[1].rows[0][:2] == ("Mass", "28")
    kept = run_study(lesions, BOXES, training=False)
    np.testing.assert_array_equal(kept.scores[REAL][0]["in-domain"], study.scores[REAL][0]["in-domain"])


def test_boxes_of_phantoms_lie_around_their_masks(chests):
    rows, index = chests.synthetic, chests.synthetic_index
    boxes = drawn_boxes(rows, index)
    ill = next(row for row in rows.to_dict("records") if "Cardiomegaly" in row["findings"])
    heart = read_mask(index.parent / ill["masks"], "heart")
    columns, lines = np.flatnonzero(heart.any(0)), np.flatnonzero(heart.any(1))
    expected = np.array([columns[0], lines[0], columns[-1] + 1, lines[-1] + 1]) / 64
    np.testing.assert_allclose(boxes[ill["image"]]["Cardiomegaly"], [expected])
    truth = box_truth(rows, boxes, ["Cardiomegaly", "Pneumonia"])
    assert is_known(truth)[:, 0].all() and not is_known(truth)[:, 1].any()  # phantoms draw no pneumonia


def test_what_is_refused(chests, lesions, tmp_path):
    with pytest.raises(UserError, match="structure 'liver': .*index.parquet has lungs, heart"):
        run_study(chests, MASKS.model_copy(update={"names": ("liver",)}))
    with pytest.raises(UserError, match="masks.parquet: no masks beside this index"):
        run_study(lesions, MASKS)
    with pytest.raises(NotMeasurable, match="no finding has boxes in 40 held-out images"):
        run_study(lesions, BOXES.model_copy(update={"least": 40}))
    with pytest.raises(UserError, match="finding 'Nodule': .*has Mass"):
        run_study(lesions, BOXES.model_copy(update={"names": ("Nodule",)}))
    unlike = context_of(tmp_path, lesions.real, chests.synthetic, lesions.real_index, chests.synthetic_index)
    none = chests.synthetic[~chests.synthetic["findings"].str.contains("Mass")].reset_index(drop=True)
    unlike.synthetic = none
    with pytest.raises(UserError, match="no synthetic image shows any finding of Mass"):
        run_study(unlike, BOXES)


def test_structures_of_a_masks_table(chests, tmp_path):
    """Masks from a table, with a structure of its own beside the lungs; phantoms know nothing of it."""
    real = chests.real.drop(columns="masks")
    rows = []
    for row in chests.real.to_dict("records"):
        stack = [
            read_mask(chests.real_index.parent / row["masks"], name) for name in ("lung_right", "lung_left", "heart")
        ]
        place = tmp_path / f"{row['study_id']}.npy"
        np.save(place, np.stack([stack[0] | stack[1], stack[2]]))
        for channel, structure in enumerate(("Lungs (whole)", "Tumour")):
            rows.append(
                {"image": row["image"], "structure": structure, "mask": str(place), "channel": channel, "rle": ""}
            )
    write_masks(pd.DataFrame(rows), tmp_path / "index.parquet")
    context = context_of(tmp_path, real, chests.synthetic, tmp_path / "index.parquet", chests.synthetic_index)
    study = run_study(context, MASKS.model_copy(update={"names": (), "settings": ("real", "synthetic"), "steps": 4}))
    assert study.names == ("lungs",) and study.tests[0].truth.shape == (9, 1, SIDE, SIDE)
    assert study.left_out == {"tumour": "no synthetic image shows it"}
    both = {"names": ("lungs", "tumour"), "settings": ("real",), "steps": 4}
    found = material(context, MASKS.model_copy(update=both), target_of(MASKS))
    assert found.names == ("lungs", "tumour") and (found.synthetic.truth[:, 1] == UNKNOWN).all()
    assert (found.tests[0].truth[:, 1] == 1).any()


def asked(tables, out, *options):
    command = [sys.executable, "-c", "from gen.eval.cli import main; main()", "utility", "--real", tables[0]]
    command += ["--synthetic", tables[1], "--out", out, "--target", "masks", "--workers", "0", *options]
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=280)


def test_the_command(copied_world, tmp_path):
    """Refused in one line without masks; with them, a page, a table and the figures."""
    done = asked(copied_world, tmp_path / "out")
    assert done.returncode == 2 and "no masks beside this index" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr and not (tmp_path / "out" / "report.html").exists()
    for table, column in zip(copied_world, ("image", "img_savename"), strict=True):
        images = [str(table.parent / name) for name in pd.read_csv(table)[column]]
        left_half = {"structure": "lungs", "mask": "", "channel": 0, "rle": "0 2048"}  # down the columns, 64 a side
        write_masks(pd.DataFrame([{"image": image, **left_half} for image in images]), table)
    few = ("steps=2", "seeds=1", 'settings=["real", "real + synthetic"]', "splits=[test]", "resolution=32")
    done = asked(copied_world, tmp_path / "out", *few)
    assert done.returncode == 0, done.stderr
    assert "in-domain: 60 images of 60 patients, 1 structure" in done.stdout
    figures = json.loads((tmp_path / "out" / "metrics.json").read_text())["sections"]["utility"]["figures"]
    assert {(figure["name"], figure["group"]) for figure in figures} >= {("mean Dice", "real + synthetic")}
    assert "Gain of a downstream segmenter" in (tmp_path / "out" / "report.html").read_text()
