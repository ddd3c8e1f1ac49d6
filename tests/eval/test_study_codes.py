"""Whose study an image shows: shares of strangers, a coder from its folder, and the figures made of it."""

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from gen.data.index import write_index
from gen.errors import UserError
from gen.eval import studies, views
from gen.eval.study_codes import WHOSE
from gen.judges.reader import Reader
from gen.judges.study import StudyJudge, nearer_than_strangers
from gen.models.classifier import RadiographClassifier
from gen.models.loading import load_codec
from gen.models.study_code import StudyCoder

COUNT = 30


@pytest.fixture(scope="module")
def judge(tmp_path_factory):
    """A coder that has learned nothing, through its folder: like images have like codes."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("coder")
    codec = load_codec("pixels-8")
    StudyCoder(64, width=8, features=16, resolution=64).save_pretrained(folder)
    codec.save_pretrained(folder / "vae")
    return StudyJudge.load(folder)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """A picture a patient, and what hardly differs from it."""
    folder, generator = tmp_path_factory.mktemp("pictures"), np.random.default_rng(1)
    for number in range(COUNT):
        coarse = generator.integers(20, 235, (4, 4)).astype(np.uint8)
        image = np.repeat(np.repeat(coarse, 16, 0), 16, 1)
        Image.fromarray(image).save(folder / f"{number}.png")
        Image.fromarray(image + generator.integers(0, 20, image.shape, dtype=np.uint8)).save(
            folder / f"{number}_near.png"
        )
    return folder


def test_strangers_are_other_patients_and_ties_count_half():
    codes = np.eye(3)[[0, 1, 2, 2]]
    shares = nearer_than_strangers(codes, np.eye(3)[[0, 0, 2, 2]], np.array(["a", "b", "c", "c"]))
    assert shares.tolist() == [(0.5 + 2) / 3, (0.5 + 1) / 3, 1, 1]
    assert np.isnan(nearer_than_strangers(codes, codes, np.array(["a"] * 4))).all()


def test_a_coder_tells_like_images_and_reads_any_size(judge):
    images = torch.rand(3, 1, 50, 70) * 2 - 1
    codes = judge.codes(images, ["PA", "LATERAL", "UNKNOWN"])
    assert codes.shape == (3, 16)
    torch.testing.assert_close(codes.norm(dim=1), torch.ones(3))
    with pytest.raises(UserError, match="no StudyCoder here"):
        StudyJudge.load("nowhere")


def test_views_are_judged_by_whose_they_are(judge, pictures):
    names = [f"{n}.png" for n in range(COUNT)]
    table = pd.DataFrame({"context": names, "target": names, "generated": [f"{n}_near.png" for n in range(COUNT)]})
    table = table.assign(view=["PA", "LATERAL"] * (COUNT // 2), findings="Mass", patient=names)
    table["generated_wrong"] = table["generated"].to_list()[2:] + table["generated"].to_list()[:2]
    table.to_csv(pictures / "views.csv", index=False)
    reader = Reader(RadiographClassifier(("Mass",), widths=(4,), blocks=(1,), features=4, resolution=32))
    section = views.measure_views(pictures / "views.csv", reader, 50, coder=judge)
    for view in ("", "PA", "LATERAL"):
        figure = section.figure(WHOSE, view)
        assert figure.value > 0.9 > 0.7 > figure.control
    assert section.tables[0].rows[-1][1] == WHOSE and float(section.tables[0].rows[-1][2]) > 0.2
    assert WHOSE not in {figure.name for figure in views.measure_views(pictures / "views.csv", reader, 50).figures}


def test_studies_are_judged_by_a_coder(judge, pictures):
    names, rows = [f"{n}.png" for n in range(COUNT)], []
    table = pd.DataFrame({"first": names, "second": [f"{n}_near.png" for n in range(COUNT)]})
    table["second_alone"] = np.roll(table["second"], 3)
    table = table.assign(first_view="PA", second_view="UNKNOWN", patient=names)
    table.to_csv(pictures / "studies.csv", index=False)
    for number in range(COUNT):
        study = {"patient_id": f"p{number}", "study_id": "s", "split": "train" if number < 22 else "test"}
        for view, end in (("PA", ""), ("UNKNOWN", "_near")):
            rows.append(study | {"view": view, "image": str(pictures / f"{number}{end}.png")})
    write_index(pd.DataFrame(rows), pictures / "index.csv")
    reader = Reader(RadiographClassifier(("Mass",), widths=(4,), blocks=(1,), features=4, resolution=32))
    section = studies.measure_studies(pictures / "studies.csv", pictures / "index.csv", reader, 50, coder=judge)
    figure = section.figure(studies.MATCH, "PA, UNKNOWN")
    assert figure.n == COUNT and figure.value > figure.control and 0 <= figure.floor <= 1
    held_out = pd.DataFrame(rows).assign(split="test")  # a coder has nothing to learn of them
    write_index(held_out, pictures / "held_out.csv")
    assert studies.measure_studies(pictures / "studies.csv", pictures / "held_out.csv", reader, 50, coder=judge).figures
