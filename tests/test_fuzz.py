"""A few damaged and hostile inputs of every kind; tests/chaos_fuzz.py runs thousands."""

import runpy
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gen.config import load_config
from gen.data.compose import attributes, compose_prompt
from gen.data.labeller import label_report
from gen.data.reports import clean_report, report_sections
from gen.errors import LONGEST_LINE, UserError, plain_line
from gen.files import cell_text, plain_cell
from gen.models.folders import read_settings
from gen.schema import LatentJob

FUZZ = runpy.run_path(str(Path(__file__).with_name("chaos_fuzz.py")))
CASES = 6  # of a surface of weight 1
RECIPE = Path(__file__).parents[1] / "configs" / "tiny_text.yaml"
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
JSON = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
)
quick = settings(
    max_examples=60, deadline=None, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.mark.parametrize("surface", FUZZ["SURFACES"], ids=lambda surface: surface.name)
def test_damaged_input_is_read_or_clearly_refused(surface, tmp_path, monkeypatch):
    monkeypatch.chdir(Path(__file__).parents[1])
    outcome = FUZZ["fuzz"](surface, int(CASES * surface.weight), 1, tmp_path)
    assert outcome.faults == []
    assert outcome.read + outcome.refused >= int(CASES * surface.weight)


@quick
@given(st.text(max_size=300))
def test_any_text_is_a_prompt_and_a_report(text):
    attributes(text)
    compose_prompt(text)
    label_report(text)
    report_sections(clean_report(text))


@quick
@given(st.text(max_size=60), JSON)
def test_any_override_is_taken_or_refused(key, value):
    try:
        load_config(LatentJob, RECIPE, [f"{key}={value}", f"train.{key}={value}"])
    except UserError as error:
        assert "\n" not in plain_line(str(error))


@quick
@given(JSON)
def test_any_json_is_settings_or_refused(tmp_path, value):
    import json

    path = tmp_path / "config.json"
    path.write_text(json.dumps(value))
    try:
        assert isinstance(read_settings(path), dict)
    except UserError as error:
        assert str(path) in str(error)


@quick
@given(
    st.text(max_size=40)
    | st.sampled_from(["=1+1", "'=1", "''=1", "-3", "-a", "+1e5", "@x", "\tx", "'", "-0.5", "-inf"])
)
def test_cells_never_are_formulas_and_come_back(text):
    cell = plain_cell(text)
    assert cell_text(cell) == text
    if cell[:1] in ("=", "+", "-", "@", "\t"):
        float(cell)


@quick
@given(st.text(max_size=3000))
def test_an_error_is_one_printable_line(text):
    line = plain_line(text)
    assert line.isprintable() and len(line) < 10 * LONGEST_LINE


def test_nothing_unpacks_archives():
    """Members are read one by one and never written by the names that they have: no slip out of a folder."""
    root = Path(__file__).parents[1]
    code = [path for folder in ("gen", "train", "sample", "eval") for path in (root / folder).rglob("*.py")]
    assert [
        path.name for path in code if "extractall" in path.read_text() or "unpack_archive" in path.read_text()
    ] == []
