"""Run the notebooks and keep their outputs, small and with no word of the machine: python docs/notebooks.py [NAME]"""

from __future__ import annotations

import base64
import io
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import nbformat
from PIL import Image

NOTEBOOKS = Path(__file__).parent.parent / "notebooks"
LEVELS = 64  # colours of a stored picture
WIDGETS = "application/vnd.jupyter.widget-view+json"


def executed(path: Path) -> nbformat.NotebookNode:
    """A notebook after a run in a folder of its own."""
    with tempfile.TemporaryDirectory() as folder:
        for file in (path, NOTEBOOKS / "hospital.zip"):
            shutil.copy(file, folder)
        command = [sys.executable, "-m", "pytest", "--nbmake", "--overwrite", "--nbmake-timeout=600", "-q", path.name]
        subprocess.run([*command, "-p", "no:cacheprovider"], cwd=folder, check=True)
        text = (Path(folder) / path.name).read_text().replace(f"{Path(folder).resolve()}/", "")
        return nbformat.reads(text, as_version=4)


def cleaned(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Without progress bars, times and warnings, and with small pictures."""
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type != "code":
            continue
        kept = [o for o in cell.outputs if o.get("name") != "stderr" and WIDGETS not in o.get("data", {})]
        for output in kept:
            if "image/png" in output.get("data", {}):
                output.data["image/png"] = smaller(output.data["image/png"])
        cell.outputs = joined(kept)
    return notebook


def joined(outputs: list) -> list:
    """With what was printed in pieces in one."""
    found: list = []
    for output in outputs:
        if found and output.output_type == found[-1].output_type == "stream":
            found[-1].text += output.text
        else:
            found.append(output)
    return found


def smaller(picture: str) -> str:
    """A PNG of fewer colours, as base64."""
    file = io.BytesIO()
    with Image.open(io.BytesIO(base64.b64decode(picture))) as image:
        image.convert("RGB").quantize(LEVELS).save(file, "PNG", optimize=True)
    return min(base64.b64encode(file.getvalue()).decode(), picture, key=len)


if __name__ == "__main__":
    for path in sorted(NOTEBOOKS.glob("*.ipynb")):
        if not sys.argv[1:] or path.stem in sys.argv[1:]:
            nbformat.write(cleaned(executed(path)), path)
