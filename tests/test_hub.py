"""Publishing to a model hub and loading from it, by the real client against a hub of our own on the loopback."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

COMMIT = "0123456789abcdef0123456789abcdef01234567"
CODE = """
import sys
from gen import CXRPipeline
folder, out = sys.argv[1:]
prompt = "PA chest radiograph of a woman with cardiomegaly."
here = CXRPipeline.from_pretrained(folder)
here.push_to_hub("someone/cxr", token="hf_secret", safe_serialization=True)
there = CXRPipeline.from_pretrained("someone/cxr", revision={revision!r})
images = [pipe(prompt, seed=3, steps=2, progress=False).images[0] for pipe in (here, there)]
assert images[0].tobytes() == images[1].tobytes()
assert here.model_hash == there.model_hash
images[1].save(out)
"""


class Hub(BaseHTTPRequestHandler):
    """The part of a hub's interface that pushing and fetching a model needs, files in memory."""

    files: dict[str, bytes]
    tokens: set[str]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.tokens.add(self.headers.get("Authorization", ""))
        if self.path == "/api/repos/create":
            self.answer({"url": f"http://{self.headers['Host']}/someone/cxr", "id": "someone/cxr"})
        elif self.path == "/api/validate-yaml":
            self.answer({"errors": [], "warnings": []})
        elif "/preupload/" in self.path:
            names = [file["path"] for file in json.loads(body)["files"]]
            self.answer({"files": [{"path": n, "uploadMode": "regular", "shouldIgnore": False} for n in names]})
        elif "/commit/" in self.path:
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    self.files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            url = f"http://{self.headers['Host']}/someone/cxr/commit/{COMMIT}"
            self.answer({"commitUrl": url, "commitOid": COMMIT})
        else:
            self.send_error(404)

    def do_GET(self) -> None:
        self.fetch(body=True)

    def do_HEAD(self) -> None:
        self.fetch(body=False)

    def fetch(self, body: bool) -> None:
        path = self.path.split("?")[0]
        if path.startswith("/api/models/someone/cxr/tree/"):
            self.answer([{"type": "file", "path": n, "size": len(c), "oid": digest(c)} for n, c in self.files.items()])
        elif path.startswith("/api/models/someone/cxr"):
            self.answer({"id": "someone/cxr", "sha": COMMIT, "siblings": [{"rfilename": name} for name in self.files]})
        elif (name := path.removeprefix(f"/someone/cxr/resolve/{COMMIT}/")) in self.files:
            self.answer(self.files[name], body)
        else:
            self.send_error(404)

    def answer(self, content: bytes | dict | list, body: bool = True) -> None:
        raw = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(raw)))
        self.send_header("ETag", f'"{digest(raw)}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.end_headers()
        if body:
            self.wfile.write(raw)

    def log_message(self, *_: object) -> None:
        """Keep the test's output clean."""


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def hub():
    handler = type("OwnHub", (Hub,), {"files": {}, "tokens": set()})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield handler, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def run(address: str, code: str, *arguments: object, home: object) -> subprocess.CompletedProcess:
    ours = {"HF_ENDPOINT": address, "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1", "HF_HUB_OFFLINE": "0"}
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=os.environ | ours, timeout=250)


@pytest.mark.parametrize("revision", [None, COMMIT])
def test_a_model_goes_to_the_hub_and_comes_back(hub, tiny_pipeline_dir, tmp_path, revision):
    server, address = hub
    code = CODE.replace("{revision!r}", repr(revision))
    done = run(address, code, tiny_pipeline_dir, tmp_path / "image.png", home=tmp_path / "home")
    assert done.returncode == 0, done.stderr[-2000:]
    assert (tmp_path / "image.png").is_file()
    assert {"model_index.json", "unet/diffusion_pytorch_model.safetensors"} <= set(server.files)
    assert not [name for name in server.files if name.endswith((".bin", ".pt", ".pkl", ".py"))]
    assert "Bearer hf_secret" in server.tokens
    assert not any(b"hf_secret" in content for content in server.files.values())
    assert not any(str(tiny_pipeline_dir).encode() in content for content in server.files.values())


def test_a_hub_without_the_model_is_said_in_one_line(hub, tmp_path):
    code = "import sys\nfrom gen.sample.cli import main\nsys.argv = ['cxr-sample', *sys.argv[1:]]\nmain()"
    arguments = ("image", "--model", "nobody/nothing", "--prompt", "PA.", "--out", tmp_path / "out")
    done = run(hub[1], code, *arguments, home=tmp_path / "home")
    assert done.returncode == 2
    assert done.stderr.strip().splitlines()[-1].startswith("error: nobody/nothing: no such folder, and not to be had")
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()
