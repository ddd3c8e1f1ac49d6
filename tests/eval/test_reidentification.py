"""Synthetic images that are second radiographs of training patients are taken for them, others are not."""

import numpy as np
import pytest

from gen.errors import UserError
from gen.eval.reidentification import closeness, judge_reidentified, threshold
from gen.eval.section import Section
from gen.models.reidentifier import ReidentificationNetwork


@pytest.fixture
def judged(context, tmp_path):
    """The section of a set judged by a network whose vectors are those of its random backbone."""
    ReidentificationNetwork(widths=(8, 16), blocks=(1, 1), features=16, resolution=32).save_pretrained(tmp_path / "net")
    context.reidentifier = tmp_path / "net"
    held_out = np.flatnonzero(context.real["split"] != "train")
    context.real.loc[held_out, "patient_id"] = [f"h{number // 2}" for number in range(len(held_out))]

    def judge():
        section = Section("privacy", "")
        judge_reidentified(context, section)
        return section

    return judge


TAKEN = "synthetic images taken for a training patient"


def test_training_images_themselves_are_taken_for_their_patients(context, judged):
    held = context._memory.setdefault(("pixels", 32), {})
    real = context.pixels(context.train, 32)
    context.pixels(context.synthetic, 32)
    held.update(zip(context.synthetic["image"], real[: len(context.synthetic)], strict=True))
    section = judged()
    figure = section.figure(TAKEN)
    assert figure.value == 1 and figure.floor == pytest.approx(0.05, abs=0.02)
    assert [verdict.kind for verdict in section.verdicts] == ["bad"]
    assert "Patients may come back" in section.verdicts[0].text


def test_a_set_like_the_held_out_one_is_not_accused(context, judged):
    held = context._memory.setdefault(("pixels", 32), {})
    real = context.pixels(context.reference, 32)
    context.pixels(context.synthetic, 32)
    held.update(zip(context.synthetic["image"], real, strict=True))
    section = judged()
    assert section.figure(TAKEN).value == section.figure(TAKEN).floor
    assert section.verdicts[0].kind != "bad" and len(section.plots) == 1


def test_without_a_network_nothing_is_said(context):
    section = Section("privacy", "")
    judge_reidentified(context, section)
    assert section == Section("privacy", "")


def test_too_few_patients_are_said_to_be_too_few(context, judged):
    context.real["patient_id"] = [f"q{number}" for number in range(len(context.real))]
    section = judged()
    assert section.figures == [] and "not measured: only 0 held-out patients" in section.verdicts[0].text


def test_another_folder_is_refused(context, tmp_path):
    context.reidentifier = tmp_path
    with pytest.raises(UserError, match="ReidentificationNetwork"):
        judge_reidentified(context, Section("privacy", ""))


def test_closeness_and_threshold():
    vectors = np.eye(3, dtype=np.float32)
    assert closeness(vectors[:2], vectors[1:]) == pytest.approx([0, 1], abs=1e-6)
    assert threshold(np.arange(101.0)) == pytest.approx(95)
