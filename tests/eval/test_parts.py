"""Alignment and fairness from tables to a section, with tiny networks in folders."""

from pathlib import Path

import pytest
import torch

from gen.eval import alignment, fairness
from gen.eval.context import Context
from gen.judges.lungs import LungSegmenter
from gen.models.classifier import RadiographClassifier
from gen.models.segmenter import ChestSegmenter


@pytest.fixture(scope="module")
def context(squares, tmp_path_factory):
    real, synthetic = squares
    out = tmp_path_factory.mktemp("parts")
    torch.manual_seed(0)
    reader = RadiographClassifier(
        ("Mass", "Nodule", "No Finding"), widths=(4, 8), blocks=(1, 1), features=8, resolution=32
    )
    reader.save_pretrained(out / "reader")
    ChestSegmenter().save_pretrained(out / "lungs")
    return Context(
        real,
        synthetic,
        [],
        out,
        out / "cache",
        resamples=50,
        readers=(str(out / "reader"), f"reader:{out / 'reader'}"),
        lungs=out / "lungs",
        writer=lambda image: "There is a mass." if image[:, :128].mean() > image[:, 128:].mean() else "Normal chest.",
        say=lambda text: None,
    )


def test_alignment_stands_beside_floor_and_control(context):
    section = alignment.measure(context)
    names = {figure.name for figure in section.figures}
    assert {"label AUROC", "label F1", "view accuracy", "sex AUROC", "age error", "prompt collapse"} <= names
    assert {"label AUROC by reader", "report F1, micro"} <= names
    for figure in section.figures:
        assert figure.floor is not None and figure.control is not None, figure.name
    assert section.figure("label AUROC").value == section.figure("label AUROC by reader").value
    assert section.figure("prompt collapse").value == 0
    assert section.plots and section.verdicts and section.to_json()["figures"]


def test_fairness_says_what_is_missing(context):
    section = fairness.measure(context)
    names = {figure.name for figure in section.figures}
    assert {"label AUROC", "far from real", "Mahalanobis distance", "real or synthetic told by features"} <= names
    assert {"AUROC with lungs covered, real", "AUROC with lungs covered, synthetic"} <= names
    assert {f.group for f in section.figures if f.name == "label AUROC"} >= {"male", "female", "view PA"}
    assert any("run cxr-eval utility" in note for note in section.notes)


def test_shipped_judges_measure_anatomy():
    """The shipped segmenter, where it is there, on the mean radiograph of the package."""
    from gen.eval.anatomy import ANGLE, measure_pixels
    from gen.eval.readings import load_pixels
    from gen.judges.lungs import SHIPPED_LUNGS

    if not SHIPPED_LUNGS.is_dir():
        pytest.skip("no segmenter is shipped yet")
    chest = Path(__file__).parents[2] / "gen" / "data" / "mean_chest.png"
    found = measure_pixels(load_pixels([str(chest)], 256), LungSegmenter.load())
    assert 0.3 < found["cardiothoracic_ratio"][0] < 0.7 and 20 < found[ANGLE][0] < 150
