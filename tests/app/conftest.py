"""A headless Chromium steered over a pipe: no driver, no port, nothing but the browser itself."""

from __future__ import annotations

import base64
import fcntl
import itertools
import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--remote-debugging-pipe")
FLAGS += ("--disable-background-networking", "--no-first-run", "--disable-dev-shm-usage", "--mute-audio")
READY = "document.querySelector('#draw') && document.querySelectorAll('.chips label').length > 5"
TOAST = "[...document.querySelectorAll('.toast-body')].map(e => e.innerText).join('|')"
WATCH = """window.steps = []; new MutationObserver(() => document.querySelectorAll('.progress-text').forEach(e => {
  const said = e.textContent.split('|')[0].trim(); if (window.steps.at(-1) != said) window.steps.push(said); }))
  .observe(document.body, {subtree: true, childList: true, characterData: true})"""


class Browser:
    """One page of a browser, by the Chrome DevTools Protocol: JSON messages, ended by a zero byte."""

    def __init__(self, profile: Path, width: int = 1280, height: int = 1000) -> None:
        ours_read, theirs_write = os.pipe()
        theirs_read, ours_write = os.pipe()

        def as_three_and_four() -> None:
            reading, writing = (fcntl.fcntl(end, fcntl.F_DUPFD, 100) for end in (theirs_read, theirs_write))
            os.dup2(reading, 3)
            os.dup2(writing, 4)

        command = [CHROMIUM, *FLAGS, f"--user-data-dir={profile}", f"--window-size={width},{height}", "about:blank"]
        silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self.process = subprocess.Popen(command, preexec_fn=as_three_and_four, pass_fds=(3, 4), **silent)
        os.close(theirs_read)
        os.close(theirs_write)
        self.reading, self.writing, self.rest = ours_read, ours_write, b""
        self.numbers, self.events, self.session = itertools.count(1), [], None
        target = next(t for t in self.send("Target.getTargets")["targetInfos"] if t["type"] == "page")
        attached = self.send("Target.attachToTarget", targetId=target["targetId"], flatten=True)
        self.session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Network", "DOM", "Log"):
            self.send(f"{domain}.enable")

    def send(self, method: str, **parameters: object) -> dict:
        number = next(self.numbers)
        message = {"id": number, "method": method, "params": parameters}
        message |= {"sessionId": self.session} if self.session else {}
        os.write(self.writing, json.dumps(message).encode() + b"\0")
        end = time.monotonic() + 60
        while True:
            answer = self._message(end - time.monotonic())
            if answer.get("id") == number:
                assert "error" not in answer, f"{method}: {answer['error']}"
                return answer["result"]
            self.events.append(answer)

    def _message(self, seconds: float) -> dict:
        end = time.monotonic() + seconds
        while b"\0" not in self.rest:
            assert select.select([self.reading], [], [], max(0, end - time.monotonic()))[0], "the browser is silent"
            self.rest += os.read(self.reading, 2**20)
        message, _, self.rest = self.rest.partition(b"\0")
        return json.loads(message)

    def run(self, script: str) -> object:
        """The value of an expression in the page."""
        result = self.send("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    def wait(self, script: str, seconds: float = 90) -> None:
        """Until an expression is true."""
        end = time.monotonic() + seconds
        while not self.run(f"!!({script})"):
            assert time.monotonic() < end, f"never true: {script}\n{self.run('document.body.innerText.slice(0, 3000)')}"
            time.sleep(0.1)

    def open(self, address: str) -> None:
        self.send("Page.navigate", url=address)

    def type(self, selector: str, text: str) -> None:
        """Replace a field's text, as a reader's keys would."""
        self.run(f"(e => {{ e.focus(); e.select(); }})(document.querySelector({json.dumps(selector)}))")
        self.send("Input.insertText", text=text)

    def number(self, selector: str, value: int) -> None:
        """Set a slider by its field."""
        self.type(f"{selector} input[type=number]", str(value))
        self.run(f"document.querySelector('{selector} input[type=number]').blur()")

    def cell(self, row: int, column: int, text: str) -> None:
        """Write into a table's cell as by hand: two clicks, the new text, Enter."""
        cell = f'[data-testid="cell-{row}-{column}"]'
        place, field = f"document.querySelector({cell!r})", f"document.querySelector({cell + ' textarea'!r})"
        self.wait(place)
        end = time.monotonic() + 60
        while self.run(f"{field}?.value") != text:  # what is above it may still move it, or it take the old text in
            assert time.monotonic() < end, f"{cell}: cannot be written into"
            if self.run(f"!{field}"):
                self.double_click(place)
            else:
                self.type(f"{cell} textarea", text)
            time.sleep(0.1)
        for kind in ("keyDown", "keyUp"):
            self.send("Input.dispatchKeyEvent", type=kind, key="Enter", windowsVirtualKeyCode=13)

    def double_click(self, element: str) -> None:
        """Press twice in the middle of what an expression gives."""
        self.run(f"{element}.scrollIntoView({{block: 'center'}})")
        x, y = self.run(f"(r => [r.x + r.width / 2, r.y + r.height / 2])({element}.getBoundingClientRect())")
        for clicks in (1, 2):
            for kind in ("mousePressed", "mouseReleased"):
                self.send("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=clicks)

    def told(self, text: str, seconds: float = 90) -> str:
        """Every message of the page, once one holds a text."""
        self.wait(f"({TOAST}).includes({json.dumps(text)})", seconds)
        return self.run(TOAST)

    def tab(self, title: str) -> None:
        """Open a tab, by the menu of those for which a narrow window has no room if it is among them."""
        script = """(title => {
          const named = kind => [...document.querySelectorAll(kind)].find(e => e.innerText == title);
          const tab = named('button[role=tab]'), more = document.querySelector("button[aria-label='More tabs']");
          if (tab?.ariaSelected == 'true') return true;
          (tab ?? named('.overflow-dropdown button') ?? more).click(); })"""
        self.wait(f"{script}({json.dumps(title)})")

    def click(self, selector: str) -> None:
        self.run(f"document.querySelector({json.dumps(selector)}).click()")

    def click_text(self, text: str, kind: str = "button") -> None:
        found = (
            f"[...document.querySelectorAll({json.dumps(kind)})].find(e => e.innerText.trim() == {json.dumps(text)})"
        )
        self.run(f"{found}.click()")

    def upload(self, selector: str, path: Path) -> None:
        """Give a file to a field, in place of the one that it has."""
        self.run(f"document.querySelector('{selector} button[aria-label=\"Clear\"]')?.click()")
        self.wait(f"document.querySelector('{selector} input[type=file]')")
        root = self.send("DOM.getDocument")["root"]["nodeId"]
        node = self.send("DOM.querySelector", nodeId=root, selector=f"{selector} input[type=file]")["nodeId"]
        self.send("DOM.setFileInputFiles", nodeId=node, files=[str(path)])

    def download(self, selector: str, folder: Path) -> Path:
        """Click and take what is saved."""
        self.send("Page.setDownloadBehavior", behavior="allow", downloadPath=str(folder))
        before = set(folder.iterdir())
        self.click(selector)
        end = time.monotonic() + 60
        while not (new := [p for p in folder.iterdir() if p not in before and p.suffix in (".png", ".dcm", ".zip")]):
            assert time.monotonic() < end, f"{selector}: nothing was saved"
            time.sleep(0.1)
        return new[0]

    def size(self, width: int, height: int, mobile: bool = False) -> None:
        screen = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": mobile}
        self.send("Emulation.setDeviceMetricsOverride", **screen)

    def screenshot(self, path: Path) -> None:
        path.write_bytes(base64.b64decode(self.send("Page.captureScreenshot", format="png")["data"]))

    def requested(self) -> set[str]:
        """Every address that the page asked for."""
        self.run("0")
        sent = (event for event in self.events if event.get("method") == "Network.requestWillBeSent")
        return {event["params"]["request"]["url"] for event in sent}

    def complaints(self) -> list[str]:
        """Errors in the console."""
        entries = [e["params"]["entry"] for e in self.events if e.get("method") == "Log.entryAdded"]
        thrown = [e["params"]["exceptionDetails"] for e in self.events if e.get("method") == "Runtime.exceptionThrown"]
        return [entry["text"] for entry in entries if entry["level"] == "error"] + [str(one) for one in thrown]

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.reading)
        os.close(self.writing)


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    if CHROMIUM is None:
        pytest.skip("no Chromium here (Debian: apt-get install chromium)")
    browser = Browser(tmp_path_factory.mktemp("chromium"))
    yield browser
    browser.close()


@pytest.fixture(scope="session")
def models(tiny_pipeline_dir, tiny_view_dir, tiny_temporal_dir, as_task) -> list[str]:
    """A tiny model of every task that the page has a tab for."""
    from gen.schema.tasks import BoneTaskConfig

    bone = as_task(tiny_pipeline_dir, "bone", BoneTaskConfig(), "page-bones")
    return [str(folder) for folder in (tiny_pipeline_dir, tiny_view_dir, bone, tiny_temporal_dir)]


@pytest.fixture(scope="module")
def index() -> Path | None:
    """The training index that the page is given; a module that wants one has a fixture of this name."""
    return None


@pytest.fixture(scope="module")
def address(models, index) -> Iterator[str]:
    """A page that is being served, and takes files of 1 MB."""
    gradio = pytest.importorskip("gradio")
    from gen.app.serving import serve_page
    from gen.app.session import open_session

    with open_session(models, index, "cpu") as session:
        yield serve_page(session, 0, share=False, upload_limit=1, wait=False)
        gradio.close_all()


@pytest.fixture
def page(browser, address) -> Browser:
    """That page, newly opened in a wide window."""
    browser.size(1280, 1000)
    browser.events.clear()
    browser.open(address)
    browser.wait(READY)
    browser.run(WATCH)
    return browser


@pytest.fixture
def chest(tmp_path) -> Path:
    """A frontal radiograph of nobody, 160 x 140 pixels: two dark lungs in a grey body."""
    rows, columns = np.mgrid[:160, :140] / np.array([160, 140])[:, None, None]
    lungs = sum(np.exp(-(((columns - x) / 0.13) ** 2) - ((rows - 0.45) / 0.28) ** 2) for x in (0.28, 0.72))
    Image.fromarray((170 - 130 * lungs).astype(np.uint8)).save(tmp_path / "chest.png")
    return tmp_path / "chest.png"
