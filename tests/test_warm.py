"""A program that starts warm (tests/warm) is as in a new interpreter: streams, codes, signals, folder, modules."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

PROGRAM = """
import os, sys
print(sys.argv, os.getcwd(), os.environ["COLOUR"], sys.stdin.read(), __name__, "gen" in sys.modules)
print("gone", file=sys.stderr)
sys.exit(int(sys.argv[1]))
"""
WAIT = """
import os, pathlib, sys, time
pathlib.Path(sys.argv[1]).symlink_to(str(os.getpid()))
time.sleep(60)
"""


def told(command, *words, **options):
    done = subprocess.run([command, *map(str, words)], capture_output=True, text=True, timeout=120, **options)
    return done.returncode, done.stdout, done.stderr


def until(true):
    """Wait for it, ten seconds at most."""
    end = time.monotonic() + 10
    while not true() and time.monotonic() < end:
        time.sleep(0.01)
    return true()


def test_it_is_as_a_new_one(warm, tmp_path):
    (tmp_path / "job.py").write_text(PROGRAM)
    options = {"env": os.environ | {"COLOUR": "grey", "PYTHONPATH": str(tmp_path)}, "input": "given"}
    files = ["job.py", 2], ["-u", "job.py", 1], ["job.py", "none"]
    for words in (["-c", PROGRAM, 3], ["-m", "job", 0, "-m"], *files, ["-V"]):
        (code, said, errors), new = (
            told(command, *words, cwd=tmp_path, **options) for command in (warm, sys.executable)
        )
        assert (code, said, errors.splitlines()[-1:]) == (*new[:2], new[2].splitlines()[-1:])


def test_it_ends_of_signals_by_its_own_number(warm, start, tmp_path):
    assert told(warm, "-c", "import os; os.kill(os.getpid(), 9)")[0] == -signal.SIGKILL
    for number in (signal.SIGTERM, signal.SIGKILL):
        link = tmp_path / number.name
        with (tmp_path / "errors").open("w") as errors:
            program = start("-c", WAIT, link, cwd=tmp_path, stderr=errors)
        assert until(link.is_symlink) and link.readlink() == Path(str(program.pid)) and program.poll() is None
        program.send_signal(number)
        assert program.wait() == program.poll() == -number


def test_it_ends_with_who_asked_for_it(warm, tmp_path):
    asker = subprocess.Popen([warm, "-c", WAIT, tmp_path / "link"])
    assert until((tmp_path / "link").is_symlink)
    asker.kill()
    asker.wait()
    assert until(lambda: not Path("/proc", (tmp_path / "link").readlink()).exists())


def test_what_it_starts_is_warm_too(warm, tmp_path):
    inner = (
        "import subprocess, sys\nprint(sys.executable, subprocess.run([sys.executable, '-c', sys.argv[1]]).returncode)"
    )
    assert told(warm, "-c", inner, "raise SystemExit(7)")[1] == f"{warm} 7\n"
    code, _, errors = told(str(Path(warm).with_name("cxr-sample")), "verify", tmp_path)
    assert code == 2 and errors.startswith("error: ") and errors.count("\n") == 1
