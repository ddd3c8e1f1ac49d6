"""Importing the package is quick and loads nothing heavy."""

import subprocess
import sys

import pytest

import gen

PROBE = """
import sys, time
start = time.perf_counter()
import gen
print(time.perf_counter() - start, *sorted({"torch", "diffusers", "pandas", "pydantic"} & set(sys.modules)))
"""


def run(code: str, folder) -> str:
    return subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=True, timeout=60
    ).stdout


def test_import_is_light(tmp_path):
    probes = [run(PROBE, tmp_path).split() for _ in range(3)]
    assert [heavy for _, *heavy in probes] == [[], [], []]
    assert min(float(seconds) for seconds, *_ in probes) <= 0.3


def test_names_resolve_on_first_use():
    homes = {name: getattr(gen, name).__module__ for name in gen.__all__ if name != "__version__"}
    assert homes == {"CXRPipeline": "gen.pipeline", "load_config": "gen.config"}
    assert set(gen.__all__) <= set(dir(gen))


def test_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = gen.no_such_name
