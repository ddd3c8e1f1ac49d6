"""Programs without their imports: one process has done them, and each program that a test starts is a fork of it.

`warm` is the path of a command to write in place of sys.executable; the console scripts stand beside it, and programs
that start others by sys.executable or by PATH get them too. `start` starts one with its own process number. With
COLD=1, and where Linux is not, every program is a new interpreter.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

HERE = Path(__file__).parent
PLACE = "CXR_WARM"  # variable: the folder of the commands
SCRIPTS = ("python", "cxr-index", "cxr-sample", "cxr-eval", "cxr-app")
COMMAND = """#!{python} -IS
import sys
sys.path.append({here!r})
import client
client.main()
"""


def pytest_configure(config: pytest.Config) -> None:
    """Start the process, once for all workers; it imports at the first request."""
    if hasattr(config, "workerinput") or sys.platform != "linux" or os.environ.get("COLD"):
        return
    folder = Path(tempfile.mkdtemp(prefix="warm-"))
    for name in SCRIPTS:
        (folder / name).write_text(COMMAND.format(python=sys.executable, here=str(HERE)))
        (folder / name).chmod(0o755)
    (folder / "environment.json").write_text(json.dumps(dict(os.environ)))
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(str(folder / "socket"))
        listener.listen(64)
        command = [sys.executable, str(HERE / "server.py"), str(listener.fileno())]
        environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
        server = subprocess.Popen(command, stdin=subprocess.PIPE, pass_fds=[listener.fileno()], env=environment)
    os.environ[PLACE] = str(folder)
    config.add_cleanup(lambda: stop(server, folder))


def stop(server: subprocess.Popen, folder: Path) -> None:
    """End it: it lives as long as its input is open."""
    server.stdin.close()
    server.wait()
    os.environ.pop(PLACE, None)
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def warm() -> str:
    """What to start in place of sys.executable."""
    return str(Path(os.environ[PLACE]) / "python") if PLACE in os.environ else sys.executable


@pytest.fixture
def start(warm) -> Callable[..., object]:
    """Start `python ...` with its own process number: arguments, then the streams and the folder of a Popen."""
    if warm == sys.executable:
        return lambda *words, cwd, stderr: subprocess.Popen(
            [warm, *map(str, words)], cwd=cwd, stdout=subprocess.DEVNULL, stderr=stderr
        )
    spec = importlib.util.spec_from_file_location("client", HERE / "client.py")
    client = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(client)

    def program(*words: object, cwd: Path, stderr: object) -> object:
        with open(os.devnull, "r+") as nothing:
            streams = (nothing.fileno(), nothing.fileno(), stderr.fileno())
            return client.Program([warm, *map(str, words)], streams, cwd)

    return program
