"""Every notebook runs from its first cell to its last in a folder of its own, and is small as it is stored.

Kernels are warm, and so is what the cells start.
"""

import os
import shutil
import subprocess
from pathlib import Path

import nbformat
import pytest

NOTEBOOKS = Path(__file__).parent.parent / "notebooks"
ALL = sorted(NOTEBOOKS.glob("*.ipynb"))
LARGEST = 350_000  # bytes


@pytest.mark.slow
@pytest.mark.parametrize("path", ALL, ids=lambda path: path.stem)
def test_notebook_runs(path, tmp_path, warm):
    for file in (path, NOTEBOOKS / "hospital.zip"):
        shutil.copy(file, tmp_path)
    command = [warm, "-m", "pytest", "--nbmake", "--nbmake-timeout=240", "-p", "no:cacheprovider", "-q"]
    environment = {"OMP_NUM_THREADS": str(min(2, os.cpu_count() or 1)), **os.environ, "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [*command, path.name], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=290
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]


@pytest.mark.parametrize("path", ALL, ids=lambda path: path.stem)
def test_notebook_is_small_and_says_nothing_of_a_machine(path):
    assert path.stat().st_size <= LARGEST
    text = path.read_text()
    assert not any(word in text for word in ('"/home', "site-packages", "/tmp/", "/root"))
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert notebook.cells[0].cell_type == "markdown" and notebook.cells[0].source.startswith("# ")
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    assert not any(output.output_type == "error" or output.get("name") == "stderr" for output in outputs)


def test_the_notebooks_that_the_readme_promises_are_there():
    assert {"quickstart", "augmentation", "evaluation", "your-own-data"} <= {path.stem for path in ALL}
