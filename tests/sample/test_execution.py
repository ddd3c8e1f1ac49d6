"""Kernels, compilation and memory by one option each."""

import json

import numpy as np
import pytest
from PIL import Image


def test_xformers_is_refused_on_a_cpu_in_one_line(draw, draw_plan, make_plan, tmp_path):
    for ending in (
        draw("--prompt", "Clear lungs.", "--out", tmp_path / "set", "--attention", "xformers"),
        draw_plan(make_plan(2), tmp_path / "set", "--attention", "xformers"),
    ):
        assert ending == (2, "", "error: --attention xformers: runs on a GPU only; leave it at sdpa on a CPU\n")
    assert not (tmp_path / "set").exists()


def test_low_memory_draws_the_same(draw, tmp_path):
    for name, options in (("plain", ()), ("low", ("--low-memory",))):
        assert draw("--prompt", "Clear lungs.", "--n", 2, "--out", tmp_path / name, *options)[0] == 0
    images = [[np.asarray(Image.open(p)) for p in sorted(tmp_path.glob(f"{name}/*.png"))] for name in ("plain", "low")]
    assert len(images[0]) == 2 and np.abs(np.int16(images[0]) - np.int16(images[1])).max() <= 1


def test_a_set_says_how_it_was_run_and_goes_on_in_no_other_way(draw_plan, make_plan, tmp_path):
    plan = make_plan(2)
    assert draw_plan(plan, tmp_path / "set", "--low-memory")[0] == 0
    assert json.loads((tmp_path / "set" / "set.json").read_text())["settings"]["execution"] == "low memory"
    code, _, err = draw_plan(plan, tmp_path / "set")
    assert code == 2 and "drawn with execution 'low memory', now None" in err


@pytest.mark.slow
def test_compiling_tells_what_it_cost(draw, manifest, tmp_path):
    code, _, err = draw("--prompt", "Clear lungs.", "--out", tmp_path, "--compile", "default")
    assert code == 0 and "compiled in " in err and len(manifest(tmp_path)) == 1
