"""Take the pictures of docs/pages/page.md: each tab, driven on the shipped weights: python docs/screenshots.py [TAB]"""

from __future__ import annotations

import importlib.util
import io
import sys
import tempfile
import zipfile
from collections.abc import Callable
from itertools import product
from pathlib import Path

from PIL import Image

from gen.app.serving import serve_page
from gen.app.session import open_session
from gen.data.index import write_index
from gen.data.sources import folder
from gen.phantom.study import make_study

ROOT = Path(__file__).parent.parent
PICTURES = ROOT / "docs" / "pages" / "images"
LEVELS, LARGEST = 256, 200_000  # colours of a stored picture at most, bytes
WIDE, PHONE, TALLEST = 1100, 390, 3200  # pixels
SECONDS = 600  # that an answer may take


def driver():
    """The browser of the page's tests."""
    spec = importlib.util.spec_from_file_location("driver", ROOT / "tests" / "app" / "conftest.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def training_index(place: Path) -> Path:
    """The notebooks' hundred phantoms as a training index."""
    with zipfile.ZipFile(ROOT / "notebooks" / "hospital.zip") as archive:
        archive.extractall(place)
    columns = {"image": "file", "patient_id": "MRN", "findings": "Diagnosis"}
    rows = folder.rows(place / "images", place / "labels.csv", columns)
    rows["split"] = ["train" if number % 2 else "test" for number in range(len(rows))]
    write_index(rows, place / "index.parquet")
    return place / "index.parquet"


def phantom(place: Path) -> Path:
    """A patient with an effusion who never was."""
    study = next(s for s in map(make_study, range(10_000, 10_100)) if any(f.kind == "effusion" for f in s.findings))
    Image.fromarray((study.shoot("PA").image.clip(0, 1) * 255).astype("uint8")).save(place / "phantom.png")
    return place / "phantom.png"


def given(page, selector: str, file: Path) -> None:
    """Upload a file and see its name."""
    page.upload(selector, file)
    page.wait(f"document.querySelector('{selector}').innerText.includes('{file.stem}')")


def shown(page, selector: str, count: int) -> None:
    """Wait for pictures of an answer, whole."""
    images = f"[...document.querySelectorAll('{selector} img')]"
    page.wait(f"{images}.length >= {count} && {images}.every(e => e.complete && e.naturalWidth)", SECONDS)


def draw(page, _: Path) -> None:
    """Two radiographs of an example's words, beside the nearest of the index."""
    page.type("#prompt textarea", "AP chest radiograph of a 74-year-old man with cardiomegaly and pulmonary edema.")
    page.click("#draw")
    shown(page, "#text-images", 2)
    shown(page, "#text-nearest", 2)


def views(page, patient: Path) -> None:
    """A lateral of a study that holds one frontal image."""
    given(page, "#view-file-0", patient)
    page.click("#view-draw")
    shown(page, "#view-images", 1)


def futures(page, patient: Path) -> None:
    """Two futures at two visits, after the first known event and one that is typed."""
    given(page, "#future-file", patient)
    page.click("#future-add")
    for column, text in enumerate(("12", "diuretic", "80", "mg")):
        page.cell(1, column, text)
    page.type("#future-visits input, #future-visits textarea", "24, 72")
    page.wait("/diuretic 80 mg.*72 h|72 h.*diuretic 80 mg/s.test(document.querySelector('#future-line').innerHTML)")
    page.click("#predict")
    shown(page, "#future-images", 4)


def bones(page, patient: Path) -> None:
    """A radiograph and its soft tissue under the slider."""
    given(page, "#bone-file", patient)
    page.click("#suppress")
    shown(page, "#bone-both", 2)


def check(page, patient: Path) -> None:
    """What is known of a file that was drawn."""
    page.tab("Draw")
    page.number("#images", 1)
    page.click("#draw")
    shown(page, "#text-images", 1)
    drawn = page.download("#text-png", Path(tempfile.mkdtemp(dir=patient.parent)))
    page.tab("Check a file")
    given(page, "#check-file", drawn)
    page.wait("document.querySelector('#check-said').innerText", SECONDS)
    page.wait("document.querySelectorAll('.cm-line').length > 3")


def evaluation(page, _: Path) -> None:
    """The report of the evaluation's notebook."""
    page.upload("#report-file", ROOT / "notebooks" / "report.html")
    page.wait("document.querySelector('.report iframe')")


TABS: dict[str, tuple[str, Callable]] = {
    "draw": ("Draw", draw),
    "views": ("Views", views),
    "futures": ("Futures", futures),
    "bones": ("Bones", bones),
    "check": ("Check a file", check),
    "evaluation": ("Evaluation", evaluation),
}


def picture(page, width: int, path: Path) -> None:
    """The page as tall as its content, in few colours."""
    page.run("document.activeElement.blur(); window.scrollTo(0, 0)")
    page.run("new Promise(done => setTimeout(done, 1000))")
    page.size(width, min(page.run("document.documentElement.scrollHeight"), TALLEST), mobile=width == PHONE)
    page.run("new Promise(done => setTimeout(done, 1000))")
    page.screenshot(path)
    with Image.open(io.BytesIO(path.read_bytes())) as image:
        levels = LEVELS
        while levels == LEVELS or path.stat().st_size > LARGEST:
            few = image.convert("RGB").quantize(levels, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
            few.save(path, "PNG", optimize=True)
            levels //= 2


def main(names: list[str]) -> None:
    """Write two pictures of every tab that is named, or of all."""
    tests = driver()
    PICTURES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as place, open_session([], training_index(Path(place)), "cpu") as session:
        address, patient = serve_page(session, 0, share=False, upload_limit=64, wait=False), phantom(Path(place))
        page = tests.Browser(Path(place) / "browser", WIDE)
        for name, width in product(names or TABS, (WIDE, PHONE)):
            title, drive = TABS[name]
            page.size(width, 1000, mobile=width == PHONE)
            page.open(address)
            page.wait(tests.READY, SECONDS)
            page.tab(title)
            drive(page, patient)
            picture(page, width, PICTURES / f"page_{name}{'_phone' * (width == PHONE)}.png")
        page.close()


if __name__ == "__main__":
    main(sys.argv[1:])
