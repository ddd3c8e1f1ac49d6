"""The curve of steps, quality and seconds, measured on a tiny model and a tiny student of it."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from diffusers import LCMScheduler
from PIL import Image
from typer.testing import CliRunner

from gen.data.index import write_index
from gen.eval.cli import app
from gen.eval.networks import load_network
from gen.eval.steps import STUDENT, Point, measure_steps, monotony
from gen.models.denoiser import Denoiser, student_of
from gen.pipeline import CXRPipeline


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    folder = tmp_path_factory.mktemp("real")
    rng = np.random.default_rng(0)
    rows = []
    for number in range(16):
        Image.fromarray(rng.integers(0, 255, (32, 32), dtype=np.uint8)).save(folder / f"{number}.png")
        split = "test" if number < 8 else "train"
        rows.append({"image": str(folder / f"{number}.png"), "patient_id": f"p{number}", "split": split})
    table = pd.DataFrame(rows).assign(study_id="s", view="PA", sex="F", age=50.0, findings="No Finding", source="x")
    write_index(table, folder / "index.parquet")
    return folder / "index.parquet"


@pytest.fixture(scope="module")
def student(tiny_pipeline_dir, tmp_path_factory):
    pipeline = CXRPipeline.from_pretrained(tiny_pipeline_dir)
    few = CXRPipeline.from_modules(
        pipeline.vae, pipeline.task, student_of(Denoiser(pipeline.unet), 8), pipeline.scheduler, 32
    )
    few.register_modules(scheduler=LCMScheduler.from_config(pipeline.scheduler.config, original_inference_steps=8))
    folder = tmp_path_factory.mktemp("student") / "few"
    few.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def measured(index, student, tiny_pipeline_dir, tmp_path_factory):
    out = tmp_path_factory.mktemp("out")
    options = {"teacher_steps": (1, 3), "student_steps": (1, 2), "batch": 3}
    return measure_steps(index, tiny_pipeline_dir, student, out, load_network("random"), **options), out


def test_every_sampler_has_its_steps_calls_and_distance(measured):
    section, _ = measured
    rows = {(row[0], row[1]): row for row in section.tables[0].rows}
    assert set(rows) == {(name, steps) for name in ("DDIM", "DDPM", "DPM-Solver++") for steps in ("1", "3")} | {
        ("student", "1"),
        ("student", "2"),
    }
    assert rows["DDIM", "3"][2] == "6" and rows["student", "2"][2] == "2"  # guided twice a step, the student once
    assert rows["DDIM", "3"][5] == "1.00"
    assert all(float(row[3]) > 0 and float(row[4]) > 0 for row in rows.values())
    assert section.tables[0].title.endswith("the reference is DDIM, 3 steps")


def test_an_untrained_student_of_one_step_is_its_teacher_in_one(measured, index, student, tiny_pipeline_dir):
    """The projection of the guidance is zero and the guidance 1: the same network, the same noise, the same image."""
    teacher, few = (CXRPipeline.from_pretrained(folder) for folder in (tiny_pipeline_dir, student))
    teacher.scheduler = few.scheduler
    images = [
        pipe("PA view.", steps=1, guidance=1.0, output_type="np", progress=False).images for pipe in (teacher, few)
    ]
    assert np.array_equal(*images)


def test_it_is_said_whether_quality_falls_with_more_steps(measured):
    section, _ = measured
    assert sum(note.startswith("The student's quality ") for note in section.notes) == 1

    def course(*distances):
        return [Point(STUDENT, 2**power, 2**power, 0.1, d, 0.0) for power, d in enumerate(distances)][::-1]

    assert monotony(course(9.0, 6.0, 6.1, 5.0)) == "does not fall as steps grow"
    assert monotony(course(9.0, 6.0, 6.6, 5.0)) == "falls from 2 to 4 steps (distance +10.0%)"


def test_finished_points_are_kept(measured, index, student, tiny_pipeline_dir, monkeypatch):
    section, out = measured
    monkeypatch.setattr(CXRPipeline, "draw", None)  # nothing may be drawn again
    options = {"teacher_steps": (1, 3), "student_steps": (1, 2), "batch": 3}
    again = measure_steps(index, tiny_pipeline_dir, student, out, load_network("random"), **options)
    assert again.tables == section.tables and again.plots == section.plots
    assert again.plots[0].png.startswith(b"\x89PNG")


def test_the_command_prints_the_table_and_draws_the_curve(index, tiny_pipeline_dir, tmp_path):
    arguments = [
        "--real",
        str(index),
        "--teacher",
        str(tiny_pipeline_dir),
        "--network",
        "random",
        "--teacher-steps",
        "1",
    ]
    result = CliRunner().invoke(app, ["steps", *arguments, "--split", "train", "--out", str(tmp_path)])
    assert result.exit_code == 0, result.output
    assert "DPM-Solver++" in result.output and "seconds an image" in result.output
    assert (tmp_path / "steps.png").is_file()
    assert json.loads((tmp_path / "metrics.json").read_text())["sections"]["steps"]["figures"]


def test_features_do_not_depend_on_half_precision():
    from gen.eval.steps import features_of

    images = torch.rand(2, 1, 48, 48) * 2 - 1
    with torch.autocast("cpu", torch.bfloat16):
        inside = features_of(load_network("random"), images)
    assert np.array_equal(inside, features_of(load_network("random"), images))
