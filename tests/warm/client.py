"""Asks the warm process for a program: as a command in place of `python` or a console script, or from a test."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import sys
from pathlib import Path

READ_AT_IMPORT = ("DIFFUSERS_", "HF_", "PYTHON", "TRANSFORMERS_")  # variables: the warm process has read them already
OWN = {"PYTHONPATH": None, "HF_HUB_OFFLINE": "1"}  # but these may be as here; None: anything


class Program:
    """A program that the warm process starts, to be signalled and waited for as one of subprocess.Popen.

    command: the path of a command that plugin.py has made, and what follows it. streams: descriptors of its standard
    input, output and errors. pid is the program's own, so that a kill is one.
    """

    def __init__(self, command: list[str], streams: tuple[int, int, int] = (0, 1, 2), cwd: object = None) -> None:
        request = {"command": command, "folder": str(cwd or os.getcwd()), "environment": dict(os.environ)}
        self._connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._connection.connect(str(Path(command[0]).parent / "socket"))
        socket.send_fds(self._connection, [json.dumps(request).encode()], streams)
        self.pid, self.returncode = self._answer(), None

    def _answer(self) -> int:
        return int(self._connection.recv(32))

    def poll(self) -> int | None:
        """Its exit code, negative for a signal; None while it runs."""
        if self.returncode is None and select.select([self._connection], [], [], 0)[0]:
            self.returncode = self._answer()
        return self.returncode

    def wait(self) -> int:
        """Its exit code, when it has ended."""
        if self.returncode is None:
            self.returncode = self._answer()
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send a signal, if it still runs."""
        if self.poll() is None:
            os.kill(self.pid, number)


def asks_too_much(words: list[str], folder: Path) -> bool:
    """Whether only a new interpreter can do it: its options, or variables that are read at import."""
    there = json.loads((folder / "environment.json").read_text())
    names = {name for name in {*there, *os.environ} if name.startswith(READ_AT_IMPORT)} - OWN.keys()
    if any(there.get(name) != os.environ.get(name) for name in names):
        return True
    if any(value and os.environ.get(name, value) != value for name, value in OWN.items()):
        return True
    words = words[words[:1] == ["-u"] :]  # what launchers of several processes say
    return not words or (words[0].startswith("-") and words[0] not in ("-c", "-m"))


def main() -> None:
    """Be the command: pass signals on, and end as the program ends."""
    command = Path(sys.argv[0])
    python = command.name == "python"
    if asks_too_much(sys.argv[1:] if python else ["-m"], command.parent):
        own = Path(sys.executable).with_name(command.name) if not python else Path(sys.executable)
        os.execv(own, [str(own), *sys.argv[1:]])
    program = Program(sys.argv)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda number, _: program.send_signal(number))
    code = program.wait()
    if code < 0:
        if -code != signal.SIGKILL:
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code)
