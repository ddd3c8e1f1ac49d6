"""The page in a browser: drawing, files, bad requests and uploads, a phone, and no word to anybody else."""

import json
import re
import zipfile
from pathlib import Path

import numpy as np
import pytest
import requests
from PIL import Image

gradio = pytest.importorskip("gradio")

from gen.app import serving  # noqa: E402
from gen.app.session import open_session  # noqa: E402
from gen.provenance import NOTICE, read_record  # noqa: E402

DRAWN = "document.querySelectorAll('#text-images img').length"
TOAST = "[...document.querySelectorAll('.toast-body')].map(e => e.innerText).join('|')"


@pytest.fixture(scope="module")
def address(models):
    with open_session(models, None, "cpu") as session:
        yield serving.serve_page(session, 0, share=False, upload_limit=1, wait=False)
        gradio.close_all()


@pytest.fixture
def page(browser, address):
    browser.size(1280, 1000)
    browser.events.clear()
    browser.open(address)
    browser.wait("document.querySelector('#draw') && document.querySelectorAll('.chips label').length > 5")
    return browser


def tab(page, title):
    page.click_text(title, "button[role=tab]")


def draw(page, steps=2):
    page.type("#steps input[type=number]", str(steps))
    page.run("document.querySelector('#steps input[type=number]').blur()")
    page.click("#draw")


def test_words_become_radiographs_and_files(page, address, tmp_path):
    page.run("[...document.querySelectorAll('.chips label')].find(e => e.innerText.includes('Cardiomegaly')).click()")
    page.wait("document.querySelector('#prompt textarea').value == 'Cardiomegaly.'")
    page.type("#age input, #age textarea", "61")
    draw(page)
    page.wait(f"{DRAWN} >= 2")
    text = page.run("document.body.innerText")
    assert NOTICE in text and "synthetic, seed 1" in text
    assert "Drawn: Chest radiograph of a 61-year-old patient. Cardiomegaly." in text
    page.screenshot(tmp_path / "drawn.png")
    archive = zipfile.ZipFile(page.download("#text-png", tmp_path))
    assert archive.namelist() == ["synthetic_1_seed0.png", "synthetic_2_seed1.png"]
    foreign = {
        url
        for url in page.requested()
        if not url.startswith((address, "data:", "blob:", address.replace("http", "ws")))
    }
    assert foreign == set() and page.complaints() == []


def test_a_single_drawing_is_a_png_and_a_dicom_with_their_record(page, tmp_path):
    from pydicom import dcmread

    page.type("#images input[type=number]", "1")
    page.run("document.querySelector('#images input[type=number]').blur()")
    draw(page)
    page.wait(f"{DRAWN} >= 1")
    png, dcm = page.download("#text-png", tmp_path), page.download("#text-dicom", tmp_path)
    record = read_record(png)
    assert record.seed == 0 and record.steps == 2 and record.synthetic
    dicom = dcmread(dcm)
    assert dicom.SyntheticData == "YES" and json.loads(dicom.ImageComments) == vars(record)
    assert np.array_equal(dicom.pixel_array, np.asarray(Image.open(png)))
    tab(page, "Check a file")
    page.upload("#check-file", dcm)
    page.wait("document.querySelector('#check-said').innerText.includes('seed 0')")


@pytest.fixture
def chest(tmp_path):
    """A frontal radiograph of nobody, 160 x 140 pixels: two dark lungs in a grey body."""
    rows, columns = np.mgrid[:160, :140] / np.array([160, 140])[:, None, None]
    lungs = sum(np.exp(-(((columns - x) / 0.13) ** 2) - ((rows - 0.45) / 0.28) ** 2) for x in (0.28, 0.72))
    Image.fromarray((170 - 130 * lungs).astype(np.uint8)).save(tmp_path / "chest.png")
    return tmp_path / "chest.png"


def test_another_view_is_drawn_from_a_study(page, chest):
    tab(page, "Views")
    page.wait("document.querySelector('#view-file-0 input[type=file]')")
    page.upload("#view-file-0", chest)
    page.wait("document.querySelector('#view-file-0').innerText.includes('chest')")
    page.type("#view-steps input[type=number]", "2")
    page.run("document.querySelector('#view-steps input[type=number]').blur()")
    page.click("#view-draw")
    page.wait("document.querySelectorAll('#view-images img').length >= 1")
    assert "Drawn: Lateral chest radiograph." in page.run("document.querySelector('#view-said').innerText")


def test_futures_follow_from_a_radiograph_and_events(page, chest):
    tab(page, "Futures")
    page.wait("document.querySelector('#future-file input[type=file]')")
    assert "furosemide" in page.run("document.querySelector('#future-line').innerHTML")
    page.upload("#future-file", chest)
    page.wait("document.querySelector('#future-file').innerText.includes('chest')")
    page.type("#future-steps input[type=number]", "2")
    page.run("document.querySelector('#future-steps input[type=number]').blur()")
    page.type("#future-visits input, #future-visits textarea", "24, soon")
    page.click("#predict")
    page.wait(f"({TOAST}).includes('soon')")
    page.type("#future-visits input, #future-visits textarea", "24, 72")
    page.wait("document.querySelector('#future-line').innerHTML.includes('72 h')")
    page.click("#predict")
    page.wait("document.querySelectorAll('#future-images img').length >= 4")
    assert "synthetic, 72 h later" in page.run("document.querySelector('#future-images').innerText")


def test_bones_are_taken_out_at_the_size_of_the_upload(page, chest, tmp_path):
    tab(page, "Bones")
    page.wait("document.querySelector('#bone-file input[type=file]')")
    page.click("#suppress")
    page.wait(f"({TOAST}).includes('no file yet')")
    page.upload("#bone-file", chest)
    page.wait("document.querySelector('#bone-file').innerText.includes('chest')")
    page.click("#bone-anyway input")
    page.type("#bone-steps input[type=number]", "2")
    page.run("document.querySelector('#bone-steps input[type=number]').blur()")
    page.click("#suppress")
    page.wait("document.querySelectorAll('#bone-both img').length >= 2")
    saved = page.download("#bone-png", tmp_path)
    assert Image.open(saved).size == (140, 160) and read_record(saved).task == "bone"


def test_bad_requests_are_one_line_and_the_next_works(page):
    page.type("#age input, #age textarea", "old")
    page.click("#draw")
    page.wait(f"({TOAST}).includes('age')")
    assert "age 'old': write a number, or leave it empty" in page.run(TOAST)
    page.type("#age input, #age textarea", "75")
    page.click("#draw")
    page.wait(f"({TOAST}).includes('says 31')")
    page.type("#age input, #age textarea", "")
    draw(page)
    page.wait(f"{DRAWN} >= 2")


def test_bad_uploads_are_one_line_and_harm_nothing(page, tmp_path):
    tab(page, "Check a file")
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n rubbish")
    page.upload("#check-file", tmp_path / "broken.png")
    page.wait(f"({TOAST}).includes('broken.png')")
    said = page.run(TOAST)
    assert "cannot read this image" in said and "/" not in said.split("broken.png")[0].split("|")[-1]
    (tmp_path / "huge.png").write_bytes(bytes(2 * 2**20))
    page.run(
        "document.querySelector('#check-file button[aria-label=\"Clear\"], #check-file button.icon-button')?.click()"
    )
    page.wait("document.querySelector('#check-file input[type=file]')")
    page.upload("#check-file", tmp_path / "huge.png")
    page.wait(f"/exceeds|maximum/i.test({TOAST})")


def test_a_report_is_shown_without_its_scripts_and_others_are_refused(page, tmp_path):
    tab(page, "Evaluation")
    good = (
        '<html><body><section id="verdict">fine &amp; well</section><script>document.title="run"</script></body></html>'
    )
    (tmp_path / "report.html").write_text(good)
    page.upload("#report-file", tmp_path / "report.html")
    page.wait("document.querySelector('.report iframe')")
    frame = "document.querySelector('.report iframe')"
    assert page.run(f"{frame}.getAttribute('sandbox')") == "" and page.run(f"{frame}.srcdoc") == good
    page.type("#report-real textarea, #report-real input", "/nowhere/index.parquet")
    page.type("#report-made textarea, #report-made input", "/nowhere/set")
    page.click("#measure")
    page.wait(f"({TOAST}).includes('/nowhere')", 200)
    assert re.search(r"/nowhere/index\.parquet: no such", page.run(TOAST))


def test_a_phone_sees_the_notice_and_no_sideways_scrolling(page):
    page.size(390, 844, mobile=True)
    page.wait("document.documentElement.scrollWidth <= 390")
    page.run("window.scrollTo(0, 900)")
    box = page.run("(r => [r.top, r.bottom])(document.querySelector('.notice').getBoundingClientRect())")
    assert 0 <= box[0] < box[1] < 844


def test_the_server_is_on_this_machine_only_and_names_no_other(address):
    assert address.startswith("http://127.0.0.1:")
    answer = requests.get(address, timeout=30)
    assert "default-src 'self'" in answer.headers["content-security-policy"]
    config = requests.get(f"{address}config", timeout=30).json()
    assert config["analytics_enabled"] is False


def test_help_needs_no_torch():
    import subprocess
    import sys

    script = "import sys; from gen.app.cli import app; print('torch' in sys.modules or 'gradio' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True).stdout.strip() == "False"
    assert Path(serving.__file__).is_file()
