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
from gen.provenance import NOTICE, read_record  # noqa: E402

DRAWN = "document.querySelectorAll('#text-images img').length"
SAID = "document.querySelector('#check-said').innerText"
TABS = ("Draw", "Views", "Futures", "Bones", "Check a file", "Evaluation")
OUTSIDE = """[...document.querySelectorAll('.contain *')].filter(e => e.checkVisibility({visibilityProperty: true}) &&
  e.getBoundingClientRect().right > innerWidth + 1 && !e.closest('.visually-hidden, .sr-only, .cm-scroller'))
  .map(e => e.tagName + '.' + e.className)"""


def draw(page, steps=2):
    page.number("#steps", steps)
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

    page.number("#images", 1)
    draw(page)
    page.wait(f"{DRAWN} >= 1")
    png, dcm = page.download("#text-png", tmp_path), page.download("#text-dicom", tmp_path)
    record = read_record(png)
    assert record.seed == 0 and record.steps == 2 and record.synthetic
    dicom = dcmread(dcm)
    assert dicom.SyntheticData == "YES" and json.loads(dicom.ImageComments) == vars(record)
    assert np.array_equal(dicom.pixel_array, np.asarray(Image.open(png)))
    page.tab("Check a file")
    page.upload("#check-file", dcm)
    page.wait("document.querySelector('#check-said').innerText.includes('seed 0')")


def test_another_view_is_drawn_from_a_study(page, chest):
    page.tab("Views")
    page.wait("document.querySelector('#view-file-0 input[type=file]')")
    page.upload("#view-file-0", chest)
    page.wait("document.querySelector('#view-file-0').innerText.includes('chest')")
    page.number("#view-steps", 2)
    page.click("#view-draw")
    page.wait("document.querySelectorAll('#view-images img').length >= 1")
    assert "Drawn: Lateral chest radiograph." in page.run("document.querySelector('#view-said').innerText")


def test_futures_follow_from_a_radiograph_and_events(page, chest):
    page.tab("Futures")
    page.wait("document.querySelector('#future-file input[type=file]')")
    assert "furosemide" in page.run("document.querySelector('#future-line').innerHTML")
    page.upload("#future-file", chest)
    page.wait("document.querySelector('#future-file').innerText.includes('chest')")
    page.number("#future-steps", 2)
    page.type("#future-visits input, #future-visits textarea", "24, soon")
    page.click("#predict")
    page.told("soon")
    page.type("#future-visits input, #future-visits textarea", "24, 72")
    page.wait("document.querySelector('#future-line').innerHTML.includes('72 h')")
    page.click("#predict")
    page.wait("document.querySelectorAll('#future-images img').length >= 4")
    assert "synthetic, 72 h later" in page.run("document.querySelector('#future-images').innerText")


def test_bones_are_taken_out_at_the_size_of_the_upload(page, chest, tmp_path):
    page.tab("Bones")
    page.wait("document.querySelector('#bone-file input[type=file]')")
    page.click("#suppress")
    page.told("no file yet")
    page.upload("#bone-file", chest)
    page.wait("document.querySelector('#bone-file').innerText.includes('chest')")
    page.click("#bone-anyway input")
    page.number("#bone-steps", 2)
    page.click("#suppress")
    page.wait("document.querySelectorAll('#bone-both img').length >= 2")
    assert any(re.fullmatch(r"\d+/16 steps", said) for said in page.run("window.steps"))  # of two for eight looks
    saved = page.download("#bone-png", tmp_path)
    assert Image.open(saved).size == (140, 160) and read_record(saved).task == "bone"


def test_bad_requests_are_one_line_and_the_next_works(page):
    page.type("#age input, #age textarea", "old")
    page.click("#draw")
    assert "age 'old': write a number, or leave it empty" in page.told("age")
    page.type("#age input, #age textarea", "75")
    page.click("#draw")
    page.told("says 31")
    page.type("#age input, #age textarea", "")
    draw(page)
    page.wait(f"{DRAWN} >= 2")


@pytest.mark.parametrize("width", [390, 1280])
def test_a_message_does_not_cover_the_notice(page, width):
    page.size(width, 844, mobile=width == 390)
    page.type("#age input, #age textarea", "old")
    page.click("#draw")
    page.told("age")
    page.run("Promise.all(document.getAnimations().map(a => a.finished.catch(() => 0)))")
    edges = "[['.notice', 'bottom'], ['.toast-body', 'top']].map(([e, k]) => document.querySelector(e)"
    notice, message = page.run(f"{edges}.getBoundingClientRect()[k])")
    assert 0 < notice <= message


def test_bad_uploads_are_one_line_and_the_next_is_read(page, chest, tmp_path):
    page.tab("Check a file")
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n rubbish")
    page.upload("#check-file", tmp_path / "broken.png")
    said = page.told("broken.png")
    assert "cannot read this image" in said and "/" not in said.split("broken.png")[0].split("|")[-1]
    (tmp_path / "huge.png").write_bytes(bytes(2 * 2**20))
    page.upload("#check-file", tmp_path / "huge.png")
    page.told("maximum allowed size")
    (tmp_path / "empty.dcm").write_bytes(b"")
    page.upload("#check-file", tmp_path / "empty.dcm")
    page.told("empty.dcm")
    assert "synthetic" not in page.run(SAID)
    page.upload("#check-file", chest)
    page.wait(f"{SAID}.includes('does not say that it is synthetic')")
    page.tab("Draw")
    draw(page)
    page.wait(f"{DRAWN} >= 2")


def test_a_jpeg_is_a_radiograph_too(page, chest, tmp_path):
    Image.open(chest).convert("RGB").save(tmp_path / "photo.JPEG", quality=90)
    page.tab("Check a file")
    page.upload("#check-file", tmp_path / "photo.JPEG")
    page.wait(f"{SAID}.includes('does not say that it is synthetic')")
    shown = "document.querySelector('.radiographs .image-container img')"
    page.wait(f"{shown} && {shown}.complete")
    assert page.run(f"[{shown}.naturalWidth, {shown}.naturalHeight]") == [140, 160]


def test_a_report_is_shown_without_its_scripts_and_others_are_refused(page, tmp_path):
    page.tab("Evaluation")
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
    assert re.search(r"/nowhere/index\.parquet: no such", page.told("/nowhere", 200))
    assert "0/5 sections" in page.run("window.steps")


@pytest.mark.parametrize("title", TABS)
def test_a_phone_sees_the_notice_and_no_sideways_scrolling(page, title):
    page.size(390, 844, mobile=True)
    page.tab(title)
    page.wait("document.documentElement.scrollWidth <= 390 && innerWidth == 390")
    page.wait(f"{OUTSIDE}.length == 0", 10)
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
